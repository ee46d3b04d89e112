"""What runs inside vehicle or app software: preprocessing and the session. Needs numpy, one engine, and OpenCV."""
