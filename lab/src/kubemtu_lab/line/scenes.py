"""All scenes: every kind of path there is, by name."""

from typing import Final

from kubemtu_lab.line import middleboxes, sizes, tunnels
from kubemtu_lab.line.scene import LineScene

ALL: Final[dict[str, LineScene]] = {
    scene.name: scene for scene in (*sizes.SCENES, *tunnels.SCENES, *middleboxes.SCENES)
}
