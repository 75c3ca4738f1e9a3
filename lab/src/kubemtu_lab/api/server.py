"""The HTTP face of a store: paths, verbs, bodies and watch streams of the Kubernetes API, as an ASGI application.

Source: the API conventions (kubernetes/community `sig-architecture/api-conventions.md`), kubernetes/apiserver
`pkg/endpoints/request/requestinfo.go` for the verbs, `pkg/endpoints/handlers` for the answers.
"""

import logging
from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from kubemtu_lab.api import (
    access,
    answers,
    bodies,
    discovery,
    errors,
    openapi,
    options,
    policies,
    requests,
    sizes,
    tables,
    watching,
)
from kubemtu_lab.api.kubelets import Kubelets
from kubemtu_lab.api.paths import DiscoveryTarget, Target, read_path
from kubemtu_lab.api.resources import PODS, Object, Resource
from kubemtu_lab.api.store import Admit, DeleteOptions, Store

_LOG = logging.getLogger(__name__)
_PUBLIC = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_CHECKED = ("create", "update", "patch", "delete")
_SERVED = ("/api", openapi.PREFIX)
_BY_KUBELETS = ("exec", "log")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class ApiServer:
    """Answers requests for the objects of one store; every request but those for health needs a known token."""

    def __init__(
        self, store: Store, tokens: access.Tokens, *, kubelets: Kubelets | None = None, bookmark_seconds: float = 30.0
    ) -> None:
        self.store = store
        self.tokens = tokens
        self.stopping = watching.Stopping()
        self._kubelets = kubelets
        self._bookmark_seconds = bookmark_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3); no exception leaves, a bug is a 500 and a line in the log."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except errors.Refusal as refusal:
            response = answers.refused(refusal)
        except Exception as bug:
            _LOG.exception("%s %s", request.method, request.url.path)
            response = answers.as_json(
                errors.Refusal(500, "InternalError", f"Internal error occurred: {bug!r}").status, 500
            )
        if response is not None:
            await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        path = request.url.path
        if path in _PUBLIC:
            return answers.as_json(discovery.version()) if path == "/version" else PlainTextResponse("ok")
        identity = self.tokens.identify(request.headers.get("authorization", ""))
        if not path.startswith(_SERVED):
            raise _elsewhere(identity, request)
        if path.startswith(openapi.PREFIX) and request.method == "GET":
            root = path.removeprefix(openapi.PREFIX).strip("/")
            return answers.as_json(openapi.document(self.store, root) if root else openapi.index(self.store))
        target = read_path(self.store, path)
        if isinstance(target, DiscoveryTarget):
            if request.method != "GET":
                raise errors.method_not_allowed()
            return answers.as_json(self._discover(target, request))
        verb = _verb(request.method, target, request.query_params)
        wanted = access.Request(
            verb=verb,
            resource=target.resource,
            subresource=target.subresource,
            namespace=target.namespace,
            name=target.name,
        )
        identity = access.impersonated(self.store, identity, request.headers, wanted)
        access.check(self.store, identity, wanted)
        request.state.user = identity.info()
        if self._kubelets and target.resource == PODS and target.subresource in _BY_KUBELETS:
            return await self._connect(self._kubelets, verb, target, request, identity)
        if not requests.accepts_json(request.headers.get("accept", "")):
            raise errors.not_acceptable()
        if verb in _CHECKED:
            sizes.check_request(await request.body())
        if verb in _CHECKED and not (verb == "create" and target.name):
            options.check_write(verb, request.query_params, requests.content_type(request))
        return await self._perform(verb, target, request)

    async def _connect(
        self, kubelets: Kubelets, verb: str, target: Target, request: Request, identity: access.Identity
    ) -> Response | None:
        """Hand on to a kubelet; None: the connection has left HTTP, and is over."""
        if target.subresource == "log" and verb == "get":
            return await kubelets.logs(target, request, identity.user)
        if target.subresource != "exec" or verb not in ("get", "create"):
            raise errors.method_not_allowed()
        if verb == "get":
            # A WebSocket can only begin by GET, and who may read must not execute: AuthorizePodWebsocketUpgradeCreate-
            # Permission, since 1.35 (pkg/registry/core/pod/rest/subresources.go).
            wish = access.Request(
                verb="create",
                resource=target.resource,
                subresource=target.subresource,
                namespace=target.namespace,
                name=target.name,
            )
            access.check(self.store, identity, wish)
        return await kubelets.execute(target, request, identity.user)

    def _discover(self, target: DiscoveryTarget, request: Request) -> Object:
        if target.version:
            return discovery.resources(self.store, target.group, target.version)
        if target.core:
            return discovery.core_versions(request.url.netloc)
        return discovery.group(self.store, target.group) if target.group else discovery.groups(self.store)

    async def _perform(self, verb: str, target: Target, request: Request) -> Response:
        match verb:
            case "get":
                self._check_subresource(target)
                self._check_version(request.query_params)
                item = self.store.get(target.resource, target.namespace, target.name)
                return answers.as_json(self._view(target, request)(item))
            case "list":
                return self._list(target, request)
            case "watch":
                return self._watch(target, request)
            case "create" if target.name:
                return await self._create_token(target, request)
            case "create":
                return await self._create(target, request)
            case "update":
                self._check_subresource(target)
                body, warnings = await requests.read_written(target, request)
                if not (body.get("metadata") or {}).get("name"):
                    told = (
                        f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
                    )
                    raise errors.bad_request(told)
                changed = self.store.update(
                    target.resource,
                    target.namespace,
                    target.name,
                    body,
                    writer=requests.writer(target, request),
                    admit=self._admit(target, request),
                    dry_run=requests.is_dry(request.query_params),
                )
                return answers.as_json(changed, warnings=warnings)
            case "patch":
                self._check_subresource(target)
                return await self._patch(target, request)
            case "delete":
                query = request.query_params
                options = bodies.read_delete_options(requests.content_type(request), await request.body(), query)
                return self._delete(target, options)
        raise errors.method_not_allowed()

    def _check_subresource(self, target: Target) -> None:
        if target.subresource and not (target.subresource == "status" and target.resource.status):
            if target.resource.custom:
                raise errors.not_found(target.resource, target.name)
            raise errors.no_such_path()

    def _check_version(self, query: Mapping[str, str]) -> int:
        """Return the resourceVersion that a get asks for; refuses one of the future, and what is no number."""
        try:
            asked = options.read_version(query)
        except errors.Refusal as refusal:
            raise errors.unforeseen(refusal.message) from None
        if asked > self.store.version:
            raise errors.too_large_version(asked, self.store.version)
        return asked

    def _view(self, target: Target, request: Request) -> watching.View:
        """Return how the client wants to see an object: as it is, or as a table of one row."""
        if not tables.wants_table(request.headers.get("accept", "")):
            return lambda item: item
        include = request.query_params.get("includeObject", "")

        def row(item: Object) -> Object:
            version = {"resourceVersion": item["metadata"]["resourceVersion"]}
            return tables.table(target.resource, [item], version, include=include, now=self.store.clock())

        return row

    def _list(self, target: Target, request: Request) -> Response:
        query = request.query_params
        options.check_list(query, watch=False)
        asked = self._check_version(query)
        page = self.store.page(
            target.resource,
            target.namespace,
            requests.selector(target, query),
            limit=requests.count(query.get("limit", "0")),
            continue_token=query.get("continue", ""),
            exactly=asked if query.get("resourceVersionMatch") == "Exact" else 0,
        )
        metadata: Object = {"resourceVersion": str(page.version)}
        if page.continue_token:
            metadata["continue"] = page.continue_token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        if tables.wants_table(request.headers.get("accept", "")):
            include, now = query.get("includeObject", ""), self.store.clock()
            return answers.as_json(tables.table(target.resource, page.items, metadata, include=include, now=now))
        kind = f"{target.resource.kind}List"
        head = {"kind": kind, "apiVersion": target.resource.api_version, "metadata": metadata}
        return answers.as_json(head | {"items": answers.items(target, page.items)})

    def _watch(self, target: Target, request: Request) -> Response:
        query = request.query_params
        options.check_list(query, watch=True)
        try:
            options.read_version(query)
        except errors.Refusal as refusal:
            raise errors.unforeseen(refusal.message) from None
        try:
            given = {key: value for key, value in query.items() if value}
            wanted = msgspec.convert(given, watching.WatchOptions, strict=False)
        except msgspec.ValidationError as wrong:
            raise errors.bad_request(f"the query of the watch is malformed: {wrong}") from None
        watching.first_version(wanted)
        selector = requests.selector(target, query)
        lines = watching.stream(
            self.store,
            target,
            selector,
            wanted,
            view=self._view(target, request),
            stopping=self.stopping,
            bookmark_seconds=self._bookmark_seconds,
        )
        return StreamingResponse(lines, headers={"content-type": "application/json", "cache-control": "no-cache"})

    async def _create(self, target: Target, request: Request) -> Response:
        namespace = target.namespace
        if target.resource.namespaced and not namespace:
            raise errors.no_such_page() if target.resource.custom else errors.method_not_allowed()
        body, warnings = await requests.read_written(target, request)
        dry = requests.is_dry(request.query_params)
        writer, admit = requests.writer(target, request), self._admit(target, request)
        made = self.store.create(target.resource, namespace, body, writer=writer, admit=admit, dry_run=dry)
        return answers.as_json(made, 201, warnings=warnings)

    async def _patch(self, target: Target, request: Request) -> Response:
        content_type, body, query = requests.content_type(request), await request.body(), request.query_params
        if content_type == errors.APPLY_PATCH:
            return self._apply(target, bodies.read_object(content_type, body), query, self._admit(target, request))
        if query.get("fieldValidation") == "Strict":
            current = self.store.get(target.resource, target.namespace, target.name)
            requests.check_patched(target.resource, current, content_type, body)
        change = bodies.read_change(target.resource, content_type, body)
        changed = self.store.patch(
            target.resource,
            target.namespace,
            target.name,
            change,
            writer=requests.writer(target, request),
            admit=self._admit(target, request),
            dry_run=requests.is_dry(query),
        )
        return answers.as_json(changed)

    def _apply(self, target: Target, configuration: Object, query: Mapping[str, str], admit: Admit) -> Response:
        requests.check_applied(configuration)
        made, is_new = self.store.apply(
            target.resource,
            target.namespace,
            target.name,
            configuration,
            manager=query["fieldManager"],
            subresource=target.subresource,
            admit=admit,
            force=query.get("force") == "true",
            dry_run=requests.is_dry(query),
        )
        return answers.as_json(made, 201 if is_new else 200)

    def _delete(self, target: Target, options: DeleteOptions) -> Response:
        if target.subresource:
            raise errors.no_such_path()
        last, gone = self.store.delete(target.resource, target.namespace, target.name, options)
        # Of a pod the last state is returned (pkg/registry/core/pod/storage, ReturnDeletedObject).
        return answers.as_json(answers.success(target, last) if gone and target.resource.kind != "Pod" else last)

    async def _create_token(self, target: Target, request: Request) -> Response:
        """Make a token for a ServiceAccount (authentication.k8s.io/v1 TokenRequest), as a kubelet asks for one."""
        if not target.subresource:
            raise errors.method_not_allowed()
        if (target.resource.kind, target.subresource) != ("ServiceAccount", "token"):
            raise errors.no_such_path()
        body = bodies.read_object(requests.content_type(request), await request.body() or b"{}")
        self.store.get(target.resource, target.namespace, target.name)
        pod = access.bound_pod(self.store, target.namespace, body)
        token = self.tokens.add(access.service_account(target.namespace, target.name, pod))
        answer = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"} | body
        return answers.as_json(
            answer | {"status": {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}}, 201
        )

    def _admit(self, target: Target, request: Request) -> Admit:
        """Return what admission policies say to what this user writes."""

        def admit(resource: Resource, fresh: Object, old: Object | None) -> None:
            policies.check(self.store, request.state.user, resource, target.subresource, fresh, old)

        return admit


def _verb(method: str, target: Target, query: Mapping[str, str]) -> str:
    if method == "GET":
        if target.name:
            return "get"
        # Whatever is not no is yes (apiserver pkg/endpoints/request/requestinfo.go).
        return "list" if query.get("watch", "").lower() in ("", "0", "false") else "watch"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    if method not in _VERBS or (method != "POST" and not target.name):
        raise errors.method_not_allowed()
    return _VERBS[method]


def _elsewhere(identity: access.Identity, request: Request) -> errors.Refusal:
    """Refuse a path outside the API: whoever may not read it does not hear whether it is there."""
    if access.MASTERS in identity.groups:
        return errors.no_such_path()
    path, verb = request.url.path, request.method.lower()
    return errors.forbidden(None, "", f'User "{identity.user}" cannot {verb} path "{path}"')
