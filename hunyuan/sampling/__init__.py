"""Flow-matching schedules, solvers, guidance and the denoising loop."""
