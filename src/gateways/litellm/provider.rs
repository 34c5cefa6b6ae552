//! Who served a request, as far as LiteLLM says.

use std::borrow::Cow;

use crate::domain::time::Millis;
use crate::gateways::GatewaySettings;
use crate::gateways::claim::Read;

/// What LiteLLM says of where a request went.
pub(in crate::gateways) struct Route<'a> {
    /// The id of the deployment.
    pub deployment: Read<Option<Cow<'a, str>>>,
    /// The name under which clients know the deployment, and others beside it.
    pub group: Option<Cow<'a, str>>,
    /// Whose API it is.
    pub vendor: Read<Option<Cow<'a, str>>>,
}

/// Who served a request.
pub(in crate::gateways) struct Provider<'a> {
    pub provider: Read<Option<Cow<'a, str>>>,
    /// The gateway made up the deployment's id.
    pub is_made_up: bool,
    /// It does not say which deployment it was.
    pub is_guessed: bool,
}

impl<'a> Provider<'a> {
    /// The provider for whom the deployment or its model group stands in a request of that time;
    /// else the deployment, if its name was given by a person; else the vendor.
    pub fn of(route: Route<'a>, settings: &GatewaySettings, at: Option<Millis>) -> Provider<'a> {
        let deployment = match route.deployment {
            Ok(deployment) => deployment,
            Err(refusal) => return Provider::known(Err(refusal)),
        };
        let names = [deployment.as_deref(), route.group.as_deref()];
        if let Some(provider) = settings.provider_of(names, at) {
            return Provider::known(Ok(Some(Cow::Owned(provider.to_owned()))));
        }
        let is_made_up = deployment.as_deref().is_some_and(is_made_up);
        match deployment {
            Some(id) if !is_made_up => Provider::known(Ok(Some(id))),
            deployment => Provider {
                provider: route.vendor,
                is_made_up,
                is_guessed: deployment.is_none(),
            },
        }
    }

    fn known(provider: Read<Option<Cow<'a, str>>>) -> Provider<'a> {
        Provider {
            provider,
            is_made_up: false,
            is_guessed: false,
        }
    }
}

/// Whether LiteLLM made up the id of a deployment: a hash of its settings, or a random UUID, with
/// or without its hyphens.
fn is_made_up(id: &str) -> bool {
    const HASH_CHARS: [usize; 3] = [32, 40, 64];
    const UUID: [usize; 5] = [8, 4, 4, 4, 12];
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_uuid = || {
        let mut parts = id.split('-');
        UUID.iter().all(|length| {
            let part = parts.next();
            part.is_some_and(|part| part.len() == *length && is_hexadecimal(part))
        }) && parts.next().is_none()
    };
    HASH_CHARS.contains(&id.len()) && is_hexadecimal(id) || is_uuid()
}
