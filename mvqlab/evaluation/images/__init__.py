"""What is measured of images and their reconstructions."""
