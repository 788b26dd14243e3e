"""Commands that write an operator's word to the log, or repair what only an operator can."""
