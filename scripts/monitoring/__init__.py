"""What the scripts about Prometheus, Grafana and the runbook share."""
