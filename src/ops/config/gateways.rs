//! `[http.gateways]`: where gateways that post in forms of their own name the user.

use super::adapters::FieldPath;
use super::reader::{Reader, checked};

/// Most places for one user.
const PLACES_MAX: usize = 16;
/// In a LiteLLM payload, unless configured.
const LITELLM: &str = "metadata.user_api_key_user_id";
/// In a span or its resource, unless configured.
const OTLP: &str = "enduser.id, user.id";

/// Where the user stands, in forms that have several places for one: the first that is there counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserFrom {
    /// In a LiteLLM payload (`generic_api`). By default the user to whom the LiteLLM key belongs. The customer whom a request names (`user` in its
    /// body, `end_user` in the payload) is only for operators who hold all keys themselves: whoever holds a key can name anybody there.
    pub litellm: Vec<String>,
    /// Attributes of a span, or of its resource.
    pub otlp: Vec<String>,
}

impl Default for UserFrom {
    fn default() -> UserFrom {
        let places = |text| places(text).expect("the defaults are places; a test reads them");
        UserFrom {
            litellm: places(LITELLM),
            otlp: places(OTLP),
        }
    }
}

impl UserFrom {
    pub(super) fn read(reader: &mut Reader) -> UserFrom {
        let mut read = |key, default: &str| {
            let allowed = "1 to 16 names of fields, by commas, such as \"enduser.id, user.id\"";
            let kind = checked(allowed, |text| places(text).map(drop));
            places(&reader.get(key, default.to_owned(), kind)).unwrap_or_default()
        };
        UserFrom {
            litellm: read("http.gateways.litellm_user", LITELLM),
            otlp: read("http.gateways.otlp_user", OTLP),
        }
    }
}

fn places(text: &str) -> Result<Vec<String>, String> {
    let places = text.split(',').map(str::trim);
    let places = places.map(|place| FieldPath::parse(place).map(|path| path.as_str().to_owned()));
    let places = places.collect::<Result<Vec<String>, String>>()?;
    match places.len() {
        0..=PLACES_MAX => Ok(places),
        count => Err(format!("names {count} places")),
    }
}
