"""What `qlot eval` measures: accuracy on stills, tracking on video, and what happens where there is no face."""
