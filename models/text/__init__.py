"""Text before and after a network: sentences, mark-up, glossary, conversations, streamed pieces."""
