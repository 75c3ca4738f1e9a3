"""The past of a store: pages of one moment, the events of a watch, and what is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.api_samples import named, pod, refusal

from kubemtu_lab.api.resources import Object, Resource
from kubemtu_lab.api.selectors import parse
from kubemtu_lab.api.store import Store


def fill(store: Store, resource: Resource, *names: str) -> None:
    for name in names:
        store.create(resource, "default", named(name))


def names_of(items: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


def test_pages_show_one_moment(store: Store, configmaps: Resource) -> None:
    fill(store, configmaps, "a", "b", "c", "d", "e")
    first = store.page(configmaps, limit=2)
    assert (names_of(first.items), first.remaining) == (["a", "b"], 3)
    store.delete(configmaps, "default", "c")
    store.update(configmaps, "default", "d", named("d", data={"new": "1"}))
    fill(store, configmaps, "bb")
    second = store.page(configmaps, limit=2, continue_token=first.continue_token)
    assert names_of(second.items) == ["c", "d"]
    assert "data" not in second.items[1]
    third = store.page(configmaps, limit=2, continue_token=second.continue_token)
    assert (names_of(third.items), third.continue_token) == (["e"], "")
    assert first.version == second.version == third.version
    assert names_of(store.page(configmaps).items) == ["a", "b", "bb", "d", "e"]


def test_a_token_expires_with_the_history(store: Store, configmaps: Resource) -> None:
    fill(store, configmaps, "a", "b", "c")
    token = store.page(configmaps, limit=1).continue_token
    fill(store, configmaps, "d")
    store.compact()
    refused = refusal(store.page, configmaps, limit=1, continue_token=token)
    assert (refused.code, refused.reason) == (410, "Expired")
    assert "The provided continue parameter is too old" in refused.message


@pytest.mark.parametrize("token", ["x", "e30=", "WzEsMl0=", "é"])
def test_a_token_of_somebody_else_is_a_bad_request(store: Store, configmaps: Resource, token: str) -> None:
    assert refusal(store.page, configmaps, continue_token=token).code == 400


def test_the_window_bounds_the_history(configmaps: Resource) -> None:
    store = Store(window=10)
    fill(store, configmaps, *(f"x{number}" for number in range(40)))
    assert len(store.changes(configmaps, store.version - 10)) == 10
    refused = refusal(store.changes, configmaps, 2)
    assert (refused.code, refused.reason) == (410, "Expired")
    assert refused.message.startswith("too old resource version: 2 (")


def test_a_version_of_the_future_is_too_large(store: Store, configmaps: Resource) -> None:
    refused = refusal(store.changes, configmaps, store.version + 5)
    assert (refused.code, refused.reason) == (504, "Timeout")


def test_objects_enter_and_leave_the_view_of_a_selector(store: Store, configmaps: Resource) -> None:
    selector = parse(configmaps, "app=canal")
    since = store.version

    def label(value: str) -> None:
        store.update(configmaps, "default", "x", {"metadata": {"name": "x", "labels": {"app": value}}})

    fill(store, configmaps, "x")
    label("canal")
    label("other")
    label("canal")
    store.update(
        configmaps, "default", "x", {"metadata": {"name": "x", "labels": {"app": "canal"}}, "data": {"a": "1"}}
    )
    store.delete(configmaps, "default", "x")
    seen = [event.type for event in store.changes(configmaps, since, "default", selector)]
    assert seen == ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]
    assert store.changes(configmaps, since, "kube-system", selector) == []


def test_a_deletion_carries_the_version_that_ended_it(store: Store, configmaps: Resource) -> None:
    made = store.create(configmaps, "default", named("x"))
    store.delete(configmaps, "default", "x")
    (event,) = store.changes(configmaps, int(made["metadata"]["resourceVersion"]))
    assert int(event.object["metadata"]["resourceVersion"]) == store.version == event.version
    assert made["metadata"]["resourceVersion"] != event.object["metadata"]["resourceVersion"]


def test_listeners_hear_of_their_kind_until_they_leave(store: Store, configmaps: Resource, pods: Resource) -> None:
    heard: list[int] = []
    leave = store.listen(configmaps, lambda: heard.append(store.version))
    fill(store, configmaps, "a")
    store.create(pods, "default", pod("p"))
    leave()
    fill(store, configmaps, "b")
    assert len(heard) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "delete"])), max_size=30), st.data())
def test_replaying_the_changes_gives_the_present(steps: list[tuple[str, str]], data: st.DataObject) -> None:
    """Whoever lists at any version and then watches from it sees what a list shows now."""
    store = Store()
    configmaps = store.resource("", "v1", "configmaps")
    start = data.draw(st.integers(0, len(steps)))
    mirror: dict[str, Object] = {}
    since = store.version
    for number, (name, action) in enumerate(steps):
        if number == start:
            mirror = {item["metadata"]["name"]: item for item in store.page(configmaps).items}
            since = store.version
        there = name in names_of(store.page(configmaps).items)
        if action == "delete" and there:
            store.delete(configmaps, "default", name)
        elif action == "put":
            body = named(name, data={"step": str(number)})
            if there:
                store.update(configmaps, "default", name, body)
            else:
                store.create(configmaps, "default", body)
    if start == len(steps):
        mirror = {item["metadata"]["name"]: item for item in store.page(configmaps).items}
        since = store.version
    for event in store.changes(configmaps, since):
        if event.type == "DELETED":
            del mirror[event.key[1]]
        else:
            mirror[event.key[1]] = event.object
    assert mirror == {item["metadata"]["name"]: item for item in store.page(configmaps).items}
