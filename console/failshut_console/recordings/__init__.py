"""What carries out the commands on recordings. It needs the extra `replay` and is imported late."""
