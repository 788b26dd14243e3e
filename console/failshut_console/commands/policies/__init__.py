"""`failshut policy` and `failshut authority`: what policies say, and whose signatures they need."""
