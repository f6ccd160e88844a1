"""Text around a network: sentences, mark-up, glossary, conversations, streaming."""
