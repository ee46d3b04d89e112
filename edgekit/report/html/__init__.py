"""Reports as one HTML file: no script, no font, no picture from elsewhere, so that it opens at once and anywhere."""
