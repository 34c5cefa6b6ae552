//! Who is in the group of a role: for commands that must not run beside workers.

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::Says;
use super::settings::{KafkaSettings, REQUEST_TIMEOUT};
use super::{KafkaFault, refused_settings};

/// The members of the group of a role, by client id and host. One that was killed stays until its
/// session has timed out.
pub async fn members(settings: &KafkaSettings, role: &str) -> Result<Vec<String>, KafkaFault> {
    let (settings, group) = (settings.clone(), settings.group_of(role));
    let ask = move || {
        let client: BaseConsumer<Says> = settings
            .admin()
            .create_with_context(Says { client: "members" })
            .map_err(|error| refused_settings(&error))?;
        let list = client.fetch_group_list(Some(&group), REQUEST_TIMEOUT);
        let list = list.map_err(|error| KafkaFault::Unavailable(error.to_string()))?;
        let members = list.groups().iter().flat_map(|group| group.members());
        let name = |member: &rdkafka::groups::GroupMemberInfo| {
            format!("{} at {}", member.client_id(), member.client_host())
        };
        Ok(members.map(name).collect())
    };
    let asked = tokio::task::spawn_blocking(ask).await;
    asked.map_err(|error| KafkaFault::Unavailable(error.to_string()))?
}
