//! Who is in the group of a role: for commands that must not run beside workers, and for what tells
//! whether anybody works.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::groups::GroupList;

use super::context::Says;
use super::settings::{KafkaSettings, REQUEST_TIMEOUT};
use super::{KafkaFault, refused_settings};

/// Between two attempts to list a group whose coordinator is still loading.
const PAUSE: Duration = Duration::from_millis(200);

/// The members of the group of a role, by client id and host. One that was killed stays until its
/// session has timed out.
pub async fn members(settings: &KafkaSettings, role: &str) -> Result<Vec<String>, KafkaFault> {
    let (settings, group) = (settings.clone(), settings.group_of(role));
    let ask = move || {
        let client: BaseConsumer<Says> = settings
            .admin()
            .create_with_context(Says { client: "members" })
            .map_err(|error| refused_settings(&error))?;
        let list = list_group(&client, &group);
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

/// A consumer group and its members. Blocks. A coordinator that is not ready yet (the cluster has
/// just started, or moves the group to another broker) is asked again, for [`REQUEST_TIMEOUT`] in
/// all: librdkafka hands its answer on as an error.
pub(super) fn list_group(
    client: &BaseConsumer<Says>,
    group: &str,
) -> Result<GroupList, KafkaError> {
    let until = Instant::now() + REQUEST_TIMEOUT;
    repeat_while_loading(PAUSE, until, || {
        client.fetch_group_list(Some(group), REQUEST_TIMEOUT)
    })
}

fn repeat_while_loading<T>(
    pause: Duration,
    until: Instant,
    mut ask: impl FnMut() -> Result<T, KafkaError>,
) -> Result<T, KafkaError> {
    loop {
        let answer = ask();
        let is_loading = answer.as_ref().is_err_and(is_loading);
        if !is_loading || Instant::now() + pause > until {
            return answer;
        }
        std::thread::sleep(pause);
    }
}

fn is_loading(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable | Code::NotCoordinator
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a list of answers, one per attempt, comes to, and how many attempts that took.
    fn ask(answers: &[Option<RDKafkaErrorCode>], until: Instant) -> (bool, usize) {
        let mut asked = 0;
        let answer = repeat_while_loading(Duration::from_millis(1), until, || {
            asked += 1;
            match answers.get(asked - 1).copied().flatten() {
                Some(code) => Err(KafkaError::GroupListFetch(code)),
                None => Ok(()),
            }
        });
        (answer.is_ok(), asked)
    }

    #[test]
    fn a_coordinator_that_loads_is_asked_again_and_other_errors_are_not() {
        use RDKafkaErrorCode as Code;
        let later = Instant::now() + Duration::from_secs(60);
        let loading = [
            Some(Code::CoordinatorLoadInProgress),
            Some(Code::CoordinatorNotAvailable),
            Some(Code::NotCoordinator),
        ];
        assert_eq!(ask(&[], later), (true, 1));
        assert_eq!(ask(&loading, later), (true, 4));
        assert_eq!(
            ask(&[Some(Code::GroupAuthorizationFailed)], later),
            (false, 1)
        );
        assert_eq!(ask(&loading, Instant::now()), (false, 1));
    }
}
