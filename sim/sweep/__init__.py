"""Design-space sweeps: chips × programs × launches on the cycle model, in parallel, resumable."""
