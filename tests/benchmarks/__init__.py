"""What the library costs and what it saves, beside what one would use instead. See
README.md."""
