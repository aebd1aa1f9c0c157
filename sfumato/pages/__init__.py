"""What every page of sfumato shares, whatever it shows: the glossary, links to it, and the contents at the top."""
