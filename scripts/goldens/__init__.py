"""The scripts behind tests/goldens, and the references they are made with."""
