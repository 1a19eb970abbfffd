"""OpenAI's wire protocol and only that: requests in; chunks, responses and errors out."""
