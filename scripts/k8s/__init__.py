"""Checks of k8s/, and the tools they need."""
