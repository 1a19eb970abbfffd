"""Text before the model: chat templates, prompt formats, and the renderer that chooses between them."""
