"""Say what the API server, or the way to it, refused.

Every failure of a request is one of two things: nobody answered (`ApiUnreachable`),
or the server answered no (`ApiRefused`). The two are kept apart because callers act
differently: an unreachable server changes nothing that is announced, a refusal has
a text that an operator must see. `problem_of` turns either into the one sentence
that names the object and the cure; reflectors, the elector and the readiness page
show it.
"""

from lbctl.api.paths import resource_name


class ApiError(Exception):
    """A request did not do what it was sent for."""

    def __init__(self, text: str, *, method: str, path: str) -> None:
        super().__init__(f"{method} {path}: {text}")
        self.method = method
        self.path = path


class ApiUnreachable(ApiError):  # noqa: N818 - names what the server is to us
    """Nobody answered, or the answer was cut short or was not JSON.

    Whether the server carried the request out is unknown.
    """

    def __init__(self, detail: str, *, method: str, path: str) -> None:
        super().__init__(detail, method=method, path=path)
        self.detail = detail


class ApiRefused(ApiError):  # noqa: N818 - names what the server did
    """The server answered with a status outside 2xx.

    `reason` and `message` come from the Status object of the body (Kubernetes API
    conventions, "Response Status Kind"); `retry_after_s` from the header that
    accompanies 429 and 503.
    """

    def __init__(
        self,
        *,
        method: str,
        path: str,
        status: int,
        reason: str,
        message: str,
        retry_after_s: float | None = None,
    ) -> None:
        text = " ".join(part for part in (str(status), reason) if part)
        super().__init__(f"{text}: {message}" if message else text, method=method, path=path)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


class CredentialsError(Exception):
    """We have no usable way to log in; the text is one sentence for the operator.

    The process prints it and exits with 2.
    """


class PluginNeeded(CredentialsError):  # noqa: N818 - names what is missing
    """The kubeconfig logs in by a plug-in program, which only the lbctl command runs."""


def problem_of(error: Exception, *, verb: str, path: str) -> str:
    """Return one sentence that says what is wrong and, where we know, what to do.

    `verb` is the Kubernetes verb (list, watch, get, patch), which is what RBAC names.
    """
    resource = resource_name(path)
    if isinstance(error, ApiRefused):
        if error.status == 404:
            if "." in resource:
                return f"the API server does not know {resource}: install the CRDs"
            return f"the API server does not serve {path} (404)"
        if error.status == 403:
            return (
                f"RBAC refuses to {verb} {resource}: grant the verb {verb!r} on {resource} "
                f"to this identity ({error.message or 'no message'})"
            )
        if error.status == 401:
            return (
                f"the API server does not accept our credentials for {verb} {resource}: "
                f"renew the token or the client certificate"
            )
        return f"the API server cannot {verb} {resource}: {error}"
    if isinstance(error, ApiUnreachable):
        return f"no answer to {verb} {resource}: {error.detail}"
    return f"{verb} {resource} failed: {error}"
