"""What both models share: attention, rotary tables, norms, feed-forwards, embeddings."""
