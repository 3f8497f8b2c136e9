"""Looks at what Prefect has, and says what is to be done with each thing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import BlockType
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker
from pydantic import ValidationError

from deployments.setup import automations
from deployments.setup.steps import Deed, Step
from deployments.setup.wishes import Wishes
from tasks.blocks import RoboflowPlatform
from tasks.core.errors import BadInput
from tasks.core.settings import REGION_HOSTS, Settings

POOL_TYPE = "process"
BY_US = "Made by darkroom setup."
"""Description of the work pools that a set-up may remove."""
SHOWN = ("name", "logo_url", "documentation_url", "description", "code_example")
"""What of a block's type people see."""


def plan_setup(client: SyncPrefectClient, wishes: Wishes, settings: Settings) -> Iterator[Step]:
    """What is to be done so that everything is there.

    Raises:
        BadInput: a block or the environment does not hold what is needed.
    """
    yield _block_type(client)
    if wishes.block:
        yield _block(client, wishes, settings)
    yield _pool(client, wishes)
    known = {name: client.read_automations_by_name(name) for name in automations.NAMES}
    yield from _reaping(client, known)
    yield _automation(client, automations.crashing(), known)
    yield from _telling(client, wishes, known)


def plan_removal(client: SyncPrefectClient, wishes: Wishes) -> Iterator[Step]:
    """What is to be done so that nothing is there that a set-up has made."""
    for name in automations.NAMES:
        for found in client.read_automations_by_name(name):
            yield Step("automation", name, Deed.REMOVE, act=partial(client.delete_automation, found.id))
    yield from _pool_removal(client, wishes.pool)
    if kind := _find_block_type(client):
        yield from _block_removal(client, wishes.block, kind)


def find_notification(client: SyncPrefectClient, named: str) -> UUID:
    """The id of a notification block.

    Raises:
        BadInput: there is no such block, or it cannot notify.
    """
    kind, _, name = named.partition("/")
    try:
        document = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound:
        raise BadInput(f"Prefect has no block {named}: make it in Prefect's UI, under Blocks") from None
    if document.block_schema is None or "notify" not in document.block_schema.capabilities:
        raise BadInput(f"block {named} cannot notify: name one of a notification service, such as slack-webhook/mine")
    return document.id


def _block_type(client: SyncPrefectClient) -> Step:
    register = RoboflowPlatform.register_type_and_schema
    found = _find_block_type(client)
    if found is None:
        return Step("block type", RoboflowPlatform.get_block_type_slug(), Deed.MAKE, act=register)
    wanted = RoboflowPlatform._to_block_type()
    is_same = all(getattr(found, name) == getattr(wanted, name) for name in SHOWN) and _has_schema(client)
    return Step("block type", found.slug, Deed.KEEP if is_same else Deed.UPDATE, act=register)


def _find_block_type(client: SyncPrefectClient) -> BlockType | None:
    try:
        return client.read_block_type_by_slug(RoboflowPlatform.get_block_type_slug())
    except ObjectNotFound:
        return None


def _has_schema(client: SyncPrefectClient) -> bool:
    try:
        client.read_block_schema_by_checksum(RoboflowPlatform._calculate_schema_checksum())
    except ObjectNotFound:
        return False
    return True


def _block(client: SyncPrefectClient, wishes: Wishes, settings: Settings) -> Step:
    known = _known_block(client, wishes.block)
    wanted = _wanted_block(wishes, settings, known)
    save = partial(wanted.save, wishes.block, overwrite=True)
    if not known:
        return Step("block", wishes.block, Deed.MAKE, _where(wanted), save)
    try:
        is_same = RoboflowPlatform.model_validate(known).login() == wanted.login()
    except ValidationError:
        is_same = False
    return Step("block", wishes.block, Deed.KEEP if is_same else Deed.UPDATE, _where(wanted), save)


def _known_block(client: SyncPrefectClient, name: str) -> dict[str, Any]:
    """What the block of this name holds; nothing where there is none."""
    try:
        slug = RoboflowPlatform.get_block_type_slug()
        return dict(client.read_block_document_by_name(name, slug, include_secrets=True).data)
    except ObjectNotFound:
        return {}


def _wanted_block(wishes: Wishes, settings: Settings, known: dict[str, Any]) -> RoboflowPlatform:
    """What is asked for and what the environment says; else what the block says already."""
    if settings.api_key is None:
        raise BadInput(f"block {wishes.block} needs a key: set ROBOFLOW_API_KEY to it")
    kept = {name: known[name] for name in ("region", "url", "workspace") if name in known}
    given: dict[str, Any] = {"api_key": settings.api_key} | _given_place(wishes, settings)
    if wishes.workspace is not None:
        given["workspace"] = wishes.workspace
    try:
        return RoboflowPlatform.model_validate(kept | given)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        raise BadInput(f"block {wishes.block}, {problem['loc'][0]}: {problem['msg']}") from None


def _given_place(wishes: Wishes, settings: Settings) -> dict[str, Any]:
    """Where jobs run, as far as that is said; empty where it is not."""
    if wishes.url is None and not settings.api_base_url and "region" not in settings.model_fields_set:
        return {}
    url = wishes.url or settings.api_base_url or ""
    regions = {host: region for region, host in REGION_HOSTS.items()}
    return {"region": regions.get(url, settings.region), "url": "" if url in regions else url}


def _where(block: RoboflowPlatform) -> str:
    return f"for {block.login().url}"


def _pool(client: SyncPrefectClient, wishes: Wishes) -> Step:
    try:
        found = client.read_work_pool(wishes.pool)
    except ObjectNotFound:
        made = WorkPoolCreate(
            name=wishes.pool,
            type=POOL_TYPE,
            description=BY_US,
            base_job_template=ProcessWorker.get_default_base_job_template(),
            concurrency_limit=wishes.most_runs,
        )
        return Step("work pool", wishes.pool, Deed.MAKE, act=partial(client.create_work_pool, made))
    note = "" if found.type == POOL_TYPE else f"it is of type {found.type}"
    if wishes.most_runs in (None, found.concurrency_limit):
        return Step("work pool", wishes.pool, Deed.KEEP, note)
    limit = WorkPoolUpdate(concurrency_limit=wishes.most_runs)
    return Step("work pool", wishes.pool, Deed.UPDATE, note, partial(client.update_work_pool, wishes.pool, limit))


def _pool_removal(client: SyncPrefectClient, name: str) -> Iterator[Step]:
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound:
        return
    if pool.description != BY_US:
        yield Step("work pool", name, Deed.KEEP, "it was not made by darkroom setup")
    elif used := [deployment for deployment in client.read_deployments() if deployment.work_pool_name == name]:
        yield Step("work pool", name, Deed.KEEP, f"{len(used)} deployments use it")
    else:
        yield Step("work pool", name, Deed.REMOVE, act=partial(client.delete_work_pool, name))


def _block_removal(client: SyncPrefectClient, named: str, kind: BlockType) -> Iterator[Step]:
    """The block that is named, and the type when no other block is of it."""
    found = client.read_block_documents_by_type(kind.slug, include_secrets=False)
    documents = {str(document.name): document for document in found}
    if named and (document := documents.pop(named, None)):
        yield Step("block", named, Deed.REMOVE, act=partial(client.delete_block_document, document.id))
    if documents:
        yield Step("block type", kind.slug, Deed.KEEP, f"blocks of it are there: {', '.join(sorted(documents))}")
    else:
        yield Step("block type", kind.slug, Deed.REMOVE, act=partial(client.delete_block_type, kind.id))


def _reaping(client: SyncPrefectClient, known: dict[str, list[Automation]]) -> Iterator[Step]:
    try:
        deployment = client.read_deployment_by_name(automations.REAP)
    except ObjectNotFound:
        note = f"there is no deployment {automations.REAP}: run `prefect deploy --all`, then this command again"
        yield from (Step("automation", name, Deed.LEAVE, note) for name in automations.REAPING)
        return
    yield from _each(client, automations.reaping(deployment.id), known)


def _telling(client: SyncPrefectClient, wishes: Wishes, known: dict[str, list[Automation]]) -> Iterator[Step]:
    if wishes.notify:
        yield from _each(client, automations.telling(find_notification(client, wishes.notify)), known)
        return
    for name in automations.TELLING:
        if known[name]:
            yield Step("automation", name, Deed.KEEP, "as it is: --notify names another block")
        else:
            yield Step("automation", name, Deed.LEAVE, "--notify BLOCK says who is told")


def _each(
    client: SyncPrefectClient, wanted: Iterable[AutomationCore], known: dict[str, list[Automation]]
) -> Iterator[Step]:
    for automation in wanted:
        yield _automation(client, automation, known)


def _automation(client: SyncPrefectClient, wanted: AutomationCore, known: dict[str, list[Automation]]) -> Step:
    if not known[wanted.name]:
        return Step("automation", wanted.name, Deed.MAKE, act=partial(client.create_automation, wanted))
    found = known[wanted.name][0]
    note = "" if found.enabled else "it is switched off, and stays so"
    wanted = wanted.model_copy(update={"enabled": found.enabled})
    if _whole(found) == _whole(wanted):
        return Step("automation", wanted.name, Deed.KEEP, note)
    update = partial(client.update_automation, found.id, _whole(wanted))
    return Step("automation", wanted.name, Deed.UPDATE, note, update)


def _whole(automation: AutomationCore) -> AutomationCore:
    """An automation without Prefect's id, and with every field set: an update sends what is set, and takes no owner."""
    return AutomationCore.model_validate(automation.model_dump(exclude={"owner_resource"}))
