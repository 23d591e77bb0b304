"""The map of embeddings."""

from tests.conftest import until


def test_search_in_a_region(server, clip_count):
    def finished() -> dict | None:
        drawn = server.get("/api/map").json()
        return drawn if drawn["ready"] or drawn.get("failure") else None

    drawn = until(finished)
    assert drawn["ready"] and len(drawn["x"]) == len(drawn["y"]) == clip_count and not drawn.get("failure")
    assert set(drawn["attributes"]["gender"]["labels"]) == {"female", "male"}
    clip = server.get("/api/map/7").json()
    x, y = drawn["x"][7] / 65535, drawn["y"][7] / 65535
    region = ";".join(f"{x + dx},{y + dy}" for dx, dy in ((-0.01, -0.01), (0.01, -0.01), (0.01, 0.01), (-0.01, 0.01)))
    inside = server.get("/api/search", params={"caption": "a voice", "region": region, "limit": 40}).json()["hits"]
    assert clip["id"] in [hit["id"] for hit in inside] and len(inside) < clip_count
    everywhere = "-1,-1;2,-1;2,2;-1,2"
    assert (
        len(server.get("/api/search", params={"caption": "x", "region": everywhere, "limit": 40}).json()["hits"]) == clip_count
    )
    assert server.get(f"/api/map/{clip_count}").status_code == 404
