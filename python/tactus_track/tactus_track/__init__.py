"""Sends the numbers of a Tactus run to MLflow, Weights & Biases or Trackio, beside the run and never in its way.

    tactus-track runs/a mlflow --server http://127.0.0.1:5000

docs/recipes/trackers.md of Tactus tells the rest.
"""
