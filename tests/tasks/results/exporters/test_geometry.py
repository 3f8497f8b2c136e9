import pytest

from tasks.results.exporters.geometry import Box, area, around, clip_outline


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        (Box(2, 3, 7, 8), Box(2, 3, 7, 8)),
        (Box(-5, -4, 5, 4), Box(0, 0, 5, 4)),
        (Box(8, 8, 30, 31), Box(8, 8, 10, 20)),
        (Box(-1, -1, 99, 99), Box(0, 0, 10, 20)),
        (Box(10, 5, 15, 6), None),
        (Box(-4, 5, 0, 6), None),
        (Box(3, 20, 4, 22), None),
        (Box(3, 4, 3, 9), Box(3, 4, 3, 9)),
        (Box(-3, 4, -3, 9), None),
        (Box(3, 21, 4, 21), None),
    ],
)
def test_box_is_clipped_to_the_image(box, inside):
    assert box.clipped(10, 20) == inside


def test_outline_is_clipped_point_by_point():
    assert clip_outline([(-2, 1), (12, 1), (5, 30)], 10, 20) == ((0, 1), (10, 1), (5, 20))
    assert clip_outline([(11, 1), (12, 1), (15, 30)], 10, 20) == ()
    assert clip_outline([], 10, 20) == ()


def test_area_is_that_of_the_polygon_either_way_round():
    triangle = [(1.0, 1.0), (5.0, 1.0), (1.0, 4.0)]
    assert area(triangle) == area(triangle[::-1]) == 6
    assert around(triangle) == Box(1, 1, 5, 4)
    assert area(Box(2, 3, 7, 8).corners) == 25
