"""What is typed in a terminal, and the text and JSON that come back."""
