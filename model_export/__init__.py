"""From text on disk to a model folder that Carousel serves. Imports torch; `service` never imports this package."""
