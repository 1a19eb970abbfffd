"""The text of a chat before the model: templates, prompt formats, and the renderer of either."""
