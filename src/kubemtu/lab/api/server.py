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

from kubemtu.lab.api import access, bodies, discovery, errors, openapi, selectors, tables, watching
from kubemtu.lab.api.ownership import Writer
from kubemtu.lab.api.paths import Discovery, Target, read_path
from kubemtu.lab.api.resources import Object
from kubemtu.lab.api.store import DeleteOptions, Store

_LOG = logging.getLogger(__name__)
_PUBLIC = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


class ApiServer:
    """Answers requests for the objects of one store; every request but those for health needs a known token."""

    def __init__(self, store: Store, tokens: access.Tokens, *, bookmark_seconds: float = 30.0) -> None:
        self.store = store
        self.tokens = tokens
        self.stopping = watching.Stopping()
        self._bookmark_seconds = bookmark_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI 3); no exception leaves, a bug is a 500 and a line in the log."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except errors.Refusal as refusal:
            response = _json(refusal.status, refusal.code)
        except Exception as bug:
            _LOG.exception("%s %s", request.method, request.url.path)
            response = _json(errors.Refusal(500, "InternalError", f"Internal error occurred: {bug!r}").status, 500)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if path in _PUBLIC:
            return _json(discovery.version()) if path == "/version" else PlainTextResponse("ok")
        identity = self.tokens.identify(request.headers.get("authorization", ""))
        identity = access.impersonated(self.store, identity, request.headers)
        if path == _REVIEW and request.method == "POST":
            return await self._review(request, identity)
        if path.startswith(openapi.PREFIX) and request.method == "GET":
            root = path.removeprefix(openapi.PREFIX).strip("/")
            return _json(openapi.document(self.store, root) if root else openapi.index(self.store))
        target = read_path(self.store, path)
        if isinstance(target, Discovery):
            if request.method != "GET":
                raise errors.method_not_allowed()
            return _json(self._discover(target, request))
        verb = _verb(request.method, target, request.query_params)
        wish = access.Request(
            verb=verb,
            resource=target.resource,
            subresource=target.subresource,
            namespace=target.namespace,
            name=target.name,
        )
        access.check(self.store, identity, wish)
        return await self._perform(verb, target, request)

    def _discover(self, target: Discovery, request: Request) -> Object:
        if target.version:
            return discovery.resources(self.store, target.group, target.version)
        if target.core:
            return discovery.core_versions(request.url.netloc)
        return discovery.group(self.store, target.group) if target.group else discovery.groups(self.store)

    async def _perform(self, verb: str, target: Target, request: Request) -> Response:
        match verb:
            case "get":
                self._check_subresource(target)
                item = self.store.get(target.resource, target.namespace, target.name)
                return _json(self._view(target, request)(item))
            case "list":
                return self._list(target, request)
            case "watch":
                return self._watch(target, request)
            case "create" if target.name:
                return await self._create_part(target, request)
            case "create":
                return await self._create(target, request)
            case "update":
                self._check_subresource(target)
                body = bodies.read_object(_content_type(request), await request.body())
                changed = self.store.update(
                    target.resource,
                    target.namespace,
                    target.name,
                    body,
                    writer=_writer(target, request),
                    dry_run=_is_dry(request.query_params),
                )
                return _json(changed)
            case "patch":
                self._check_subresource(target)
                return await self._patch(target, request)
            case "delete" | "deletecollection":
                query = request.query_params
                options = bodies.read_delete_options(_content_type(request), await request.body(), query)
                return self._delete(target, options, query)
        raise errors.method_not_allowed()

    def _check_subresource(self, target: Target) -> None:
        if target.subresource and not (target.subresource == "status" and target.resource.status):
            raise errors.no_such_path()

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
        asked = query.get("resourceVersion", "")
        if asked.isdecimal() and int(asked) > self.store.version:
            raise errors.too_large_version(int(asked), self.store.version)
        page = self.store.page(
            target.resource,
            target.namespace,
            _selector(target, query),
            limit=_count(query.get("limit", "0")),
            continue_token=query.get("continue", ""),
        )
        metadata: Object = {"resourceVersion": str(page.version)}
        if page.continue_token:
            metadata["continue"] = page.continue_token
        if page.remaining is not None:
            metadata["remainingItemCount"] = page.remaining
        if tables.wants_table(request.headers.get("accept", "")):
            include, now = query.get("includeObject", ""), self.store.clock()
            return _json(tables.table(target.resource, page.items, metadata, include=include, now=now))
        kind = f"{target.resource.kind}List"
        head: Object = {"kind": kind, "apiVersion": target.resource.api_version, "metadata": metadata}
        return _json(head | {"items": page.items})

    def _watch(self, target: Target, request: Request) -> Response:
        query = request.query_params
        try:
            wish = msgspec.convert({key: value for key, value in query.items() if value}, watching.Wish, strict=False)
        except msgspec.ValidationError as wrong:
            raise errors.bad_request(f"the query of the watch is malformed: {wrong}") from None
        watching.first_version(wish)
        fields = query.get("fieldSelector", "")
        if target.name:
            fields = ",".join(filter(None, (fields, f"metadata.name={target.name}")))
        selector = selectors.parse(target.resource, query.get("labelSelector", ""), fields)
        lines = watching.stream(
            self.store,
            target,
            selector,
            wish,
            view=self._view(target, request),
            stopping=self.stopping,
            bookmark_seconds=self._bookmark_seconds,
        )
        return StreamingResponse(lines, headers={"content-type": "application/json", "cache-control": "no-cache"})

    async def _create(self, target: Target, request: Request) -> Response:
        body = bodies.read_object(_content_type(request), await request.body())
        namespace = target.namespace
        if target.resource.namespaced and not namespace:
            raise errors.method_not_allowed()
        dry = _is_dry(request.query_params)
        writer = _writer(target, request)
        return _json(self.store.create(target.resource, namespace, body, writer=writer, dry_run=dry), 201)

    async def _patch(self, target: Target, request: Request) -> Response:
        content_type, body, query = _content_type(request), await request.body(), request.query_params
        if content_type == errors.APPLY_PATCH and not target.subresource:
            return self._apply(target, bodies.read_object(content_type, body), query)
        change = bodies.read_change(target.resource, content_type, body)
        writer, dry = _writer(target, request), _is_dry(query)
        changed = self.store.patch(target.resource, target.namespace, target.name, change, writer=writer, dry_run=dry)
        return _json(changed)

    def _apply(self, target: Target, configuration: Object, query: Mapping[str, str]) -> Response:
        if not query.get("fieldManager"):
            told = 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
            raise errors.Refusal(422, "Invalid", told)
        made, is_new = self.store.apply(
            target.resource,
            target.namespace,
            target.name,
            configuration,
            manager=query["fieldManager"],
            force=query.get("force") == "true",
            dry_run=_is_dry(query),
        )
        return _json(made, 201 if is_new else 200)

    def _delete(self, target: Target, options: DeleteOptions, query: Mapping[str, str]) -> Response:
        if target.subresource:
            raise errors.no_such_path()
        if target.name:
            last, gone = self.store.delete(target.resource, target.namespace, target.name, options)
            return _json(_success(target, last) if gone else last)
        page = self.store.page(target.resource, target.namespace, _selector(target, query))
        for item in page.items:
            metadata = item["metadata"]
            self.store.delete(target.resource, metadata.get("namespace", ""), metadata["name"], options)
        kind = f"{target.resource.kind}List"
        head: Object = {"kind": kind, "apiVersion": target.resource.api_version}
        return _json(head | {"metadata": {"resourceVersion": str(self.store.version)}, "items": page.items})

    async def _create_part(self, target: Target, request: Request) -> Response:
        """Evict a pod (policy/v1 Eviction), or make a token for a ServiceAccount (authentication.k8s.io/v1)."""
        body = bodies.read_object(_content_type(request), await request.body() or b"{}")
        match target.resource.kind, target.subresource:
            case "Pod", "eviction":
                told = {key: value for key, value in (body.get("deleteOptions") or {}).items() if value is not None}
                options = bodies.read_delete_options("", msgspec.json.encode(told), request.query_params)
                self.store.delete(target.resource, target.namespace, target.name, options)
                return _json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}, 201)
            case "ServiceAccount", "token":
                self.store.get(target.resource, target.namespace, target.name)
                token = self.tokens.add(access.service_account(target.namespace, target.name))
                answer = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"} | body
                return _json(answer | {"status": {"token": token, "expirationTimestamp": "2099-01-01T00:00:00Z"}}, 201)
        raise errors.no_such_path()

    async def _review(self, request: Request, identity: access.Identity) -> Response:
        """Answer what `kubectl auth can-i` asks (authorization.k8s.io/v1 SelfSubjectAccessReview)."""
        body = bodies.read_object(_content_type(request), await request.body())
        asked: Object = (body.get("spec") or {}).get("resourceAttributes") or {}
        group, plural = asked.get("group", ""), asked.get("resource", "")
        known = next((each for each in self.store.resources if each.key == (group, plural)), None)
        wish = access.Request(
            verb=asked.get("verb", ""),
            resource=known,
            subresource=asked.get("subresource", ""),
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
        )
        allowed = known is not None and access.grants(self.store, identity, wish)
        return _json(body | {"status": {"allowed": allowed}}, 201)


def _json(body: Object, code: int = 200) -> Response:
    # The bare type: some clients compare the header with this very word.
    return Response(msgspec.json.encode(body), code, headers={"content-type": "application/json"})


def _verb(method: str, target: Target, query: Mapping[str, str]) -> str:
    if method == "GET":
        if query.get("watch", "").lower() in ("1", "true"):
            return "watch"
        return "get" if target.name else "list"
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    if method not in _VERBS or (method != "POST" and not target.name):
        raise errors.method_not_allowed()
    return _VERBS[method]


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _writer(target: Target, request: Request) -> Writer:
    """Return who writes: as the query says, else the first word of the User-Agent."""
    agent = request.headers.get("user-agent", "").partition("/")[0]
    manager = request.query_params.get("fieldManager") or agent or "unknown"
    return Writer(manager=manager, subresource=target.subresource)


def _selector(target: Target, query: Mapping[str, str]) -> selectors.Selector:
    return selectors.parse(target.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))


def _count(text: str) -> int:
    if not text.isdecimal():
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _is_dry(query: Mapping[str, str]) -> bool:
    return query.get("dryRun") == "All"


def _success(target: Target, last: Object) -> Object:
    details: Object = {"name": target.name, "kind": target.resource.plural, "uid": last["metadata"]["uid"]}
    if target.resource.group:
        details["group"] = target.resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
