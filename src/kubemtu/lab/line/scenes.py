"""All scenes: every kind of path there is, by name."""

from typing import Final

from kubemtu.lab.line import boxes, sizes, tunnels
from kubemtu.lab.line.scene import Scene

ALL: Final[dict[str, Scene]] = {scene.name: scene for scene in (*sizes.SCENES, *tunnels.SCENES, *boxes.SCENES)}
