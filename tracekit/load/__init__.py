"""Load on the reference service's real endpoints by vegeta, each request with a trace of its own."""
