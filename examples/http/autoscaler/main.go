// An autoscaler in Go that scales only behind a gate: it acts after a 201 alone, and its context ends with the stream.
// FAILSHUT_URL, FAILSHUT_KEY and FAILSHUT_GATE say where the gateway is, who asks, and for what.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

var base, gate = os.Getenv("FAILSHUT_URL"), os.Getenv("FAILSHUT_GATE")

func ask(ctx context.Context, method, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Failshut-Key", os.Getenv("FAILSHUT_KEY"))
	request.Header.Set("X-Failshut-Subject", "agent:refund-7")
	return http.DefaultClient.Do(request)
}

// guarded runs act with a context that ends when the gate closes, or when nobody says that it is open.
func guarded(ctx context.Context, act func(ctx context.Context, epoch string) error) error {
	soon, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	reply, err := ask(soon, "POST", "/v1/gates/"+gate+"/executions")
	if err != nil {
		return fmt.Errorf("withheld: %w", err)
	}
	defer reply.Body.Close()
	var begun struct{ Execution, Epoch, Cause, Because string }
	if err := json.NewDecoder(reply.Body).Decode(&begun); reply.StatusCode != 201 || err != nil {
		return fmt.Errorf("withheld: %d %s %s", reply.StatusCode, begun.Cause, begun.Because)
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer stop() // however the stream ends
		stream, err := ask(running, "GET", "/v1/executions/"+begun.Execution+"/stream")
		if err != nil || stream.StatusCode != 200 {
			return
		}
		defer stream.Body.Close()
		silence := time.AfterFunc(5*time.Second, stop)
		for lines := bufio.NewScanner(stream.Body); lines.Scan(); silence.Reset(5 * time.Second) {
		}
	}()
	outcome := "ok"
	if err = act(running, begun.Epoch); err != nil {
		outcome = "failed" // after a closing this changes nothing
	}
	said, cancelSaid := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancelSaid()
	if reply, lost := ask(said, "POST", "/v1/executions/"+begun.Execution+"/"+outcome); lost == nil {
		reply.Body.Close()
	}
	return err
}

func main() {
	steps, _ := strconv.Atoi(os.Getenv("STEPS"))
	err := guarded(context.Background(), func(ctx context.Context, epoch string) error {
		fmt.Println("acting under", epoch)
		for step := 0; step < steps; step++ {
			select {
			case <-ctx.Done():
				return fmt.Errorf("stopped: %w", ctx.Err())
			case <-time.After(100 * time.Millisecond):
			}
		}
		fmt.Println("scaled, fencing token", epoch)
		return nil
	})
	if err != nil {
		fmt.Println("not scaled:", err)
		os.Exit(1)
	}
}
