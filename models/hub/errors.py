"""Translation of the Hub's errors into `models.errors`, in this one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from models.errors import AccessDenied, HubError, HubUnreachable, InvalidReference, ModelNotFound
from models.reference import ModelRef
from models.secrets import Redactor


@contextmanager
def translate_errors(ref: ModelRef, endpoint: str, *, has_token: bool) -> Iterator[None]:
    """Turn the errors of a request to the Hub at `endpoint` about `ref` into ours.

    They become AccessDenied, ModelNotFound, HubUnreachable, InvalidReference or HubError. What a library says
    is quoted without secrets, such as a header's value or a signed URL.
    """
    repo, redact = ref.repo, Redactor()
    try:
        yield
    except GatedRepoError as error:
        account = "with HF_TOKEN's account" if has_token else "and set HF_TOKEN to a token of your account"
        raise AccessDenied(f"{repo} is gated; accept its licence at {endpoint}/{repo} {account}") from error
    except RepositoryNotFoundError as error:
        token = "use a token that may read it" if has_token else "set HF_TOKEN"
        search = f" (corral search {repo})" if "/" not in str(repo) else ""
        raise ModelNotFound(
            f"{repo} is not on {endpoint}, or it is private; check the name{search}, and for a private one"
            f" {token}"
        ) from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(
            f"{repo} has no revision {ref.revision}; its branches and tags are at {endpoint}/{repo}/tree/main"
        ) from error
    except RemoteEntryNotFoundError as error:
        path = error.response.url.path
        raise HubError(f"{repo} lists a file and doesn't have it ({path}); try another revision") from error
    except DisabledRepoError as error:
        raise AccessDenied(f"{repo} was disabled by the Hub; choose another model") from error
    except HfHubHTTPError as error:
        raise _status_error(error.response.status_code, endpoint) from error
    except OfflineModeIsEnabled as error:
        raise HubUnreachable("HF_HUB_OFFLINE is set; unset it to download") from error
    except httpx2.TransportError as error:
        reason = redact(str(error)) or type(error).__name__
        raise HubUnreachable(
            f"{endpoint} can't be reached ({reason}); check the network and HF_ENDPOINT"
        ) from error
    except HFValidationError as error:
        raise InvalidReference(f"{repo} is no repository's name; give org/name") from error
    except (KeyError, TypeError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise HubError(
            f"{endpoint} doesn't answer as a Hub does ({redact(str(error))}); check HF_ENDPOINT and proxies"
        ) from error


def _status_error(status: int, endpoint: str) -> HubError:
    if status == 401:
        return AccessDenied(f"{endpoint} says HF_TOKEN is invalid (401); make a new one, or unset it")
    if status == 403:
        return AccessDenied(f"{endpoint} denies access (403); use a token with read permission")
    return HubError(f"{endpoint} answered {status}; try again later")
