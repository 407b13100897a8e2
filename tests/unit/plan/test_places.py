"""The commands that people are told exist, whichever API group and namespace the objects are in."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from lbctl.cli.explain import KINDS
from lbctl.cli.get import get
from lbctl.kube.crds.kinds import KINDS as OUR_CRDS
from lbctl.kube.crds.schema import definition
from lbctl.kube.groups import METALLB_GROUP, OWN_GROUP, Groups, groups
from lbctl.model.names import NodeName, PoolName
from lbctl.model.reason import EXPLANATIONS, Reason
from lbctl.plan.checklist_steps import Commands
from lbctl.plan.explain import advice
from lbctl.plan.places import DEFAULT_NAMESPACE, Place
from tests.support.builders import make_service, service_key

OF_KUBERNETES = {"service", "services", "node", "nodes", "pods", "endpointslices"}
PLACES = [
    Place(lbctl_namespace=namespace, api_group=api_group)
    for api_group in (OWN_GROUP, METALLB_GROUP)
    for namespace in (DEFAULT_NAMESPACE, "elsewhere")
]


def check_of(reason: Reason, place: Place) -> str:
    _, check, _ = advice(
        reason,
        place=place,
        service=service_key("web/shop"),
        pool=PoolName("first"),
        node=NodeName("node1"),
    )
    return check


def told(place: Place) -> Iterator[str]:
    """Yield every command that a reason or a step of the checklist proposes."""
    for reason in Reason:
        yield check_of(reason, place)
    yield from vars(Commands(make_service("web/shop"), place)).values()


def table_of(place: Place) -> Groups:
    table = groups(place.api_group)
    assert isinstance(table, Groups)
    return table


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_every_resource_that_a_command_names_is_served(place: Place) -> None:
    table = table_of(place)
    served = {f"{one.plural}.{one.group}" for one in table.resources.values()}
    for command in told(place):
        if not command.startswith("kubectl "):
            continue
        [resource] = re.findall(r" get ([a-z0-9.]+)", command)
        assert resource in (served if "." in resource else OF_KUBERNETES), command


def test_our_own_crds_serve_what_the_table_says() -> None:
    """The table is what `kubectl` will find: of our group by our CRDs, of MetalLB's by its own."""
    crds = {
        (manifest["metadata"]["name"], version["name"])
        for manifest in map(definition, OUR_CRDS)
        for version in manifest["spec"]["versions"]
        if version["served"]
    }
    for place in PLACES:
        ours = [one for one in table_of(place).resources.values() if one.own_schema]
        assert {(f"{one.plural}.{one.group}", one.version) for one in ours} <= crds


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_every_lbctl_command_is_one_and_says_where_to_look_if_need_be(place: Place) -> None:
    wanted = [] if place.lbctl_namespace == DEFAULT_NAMESPACE else ["elsewhere"]
    for command in told(place):
        if not command.startswith("lbctl "):
            continue
        verb, word = command.split()[1:3]
        assert verb == "explain" or (verb == "get" and word in get.commands), command
        assert re.findall(r" --lbctl-namespace (\S+)", command) == wanted, command


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_nothing_is_left_to_fill_in(place: Place) -> None:
    for command in told(place):
        assert "lbctl-system" not in command or place.lbctl_namespace == DEFAULT_NAMESPACE
        placeholders = r"{(namespace|name|pool|node|lbctl_namespace|api_group|elsewhere)}"
        assert not re.search(rf"{placeholders}|NAMESPACE|SERVICE|POOL|NODE", command), command


def test_no_check_has_a_group_or_namespace_of_its_own() -> None:
    for reason, explanation in EXPLANATIONS.items():
        assert "lbctl.io" not in explanation.check, reason
        assert "--lbctl-namespace" not in explanation.check, reason


def test_the_words_of_explain_are_those_of_the_command() -> None:
    """`lbctl explain KIND NAME` in a check names a kind that there is."""
    for command in told(PLACES[0]):
        found = re.match(r"lbctl explain (?!-)(\S+) \S", command)
        assert found is None or found[1] in KINDS, command
