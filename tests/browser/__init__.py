"""A headless Chromium for tests: pages are opened, looked at and used as a person would."""
