module failshut.example/autoscaler

go 1.21
