//! Kafka behind TLS: with logins (SCRAM, PLAIN, OAUTHBEARER), and alone.

use std::sync::LazyLock;

use bytes::Bytes;
use tidemark::domain::position::{Epoch, Offset, Partition};
use tidemark::log::kafka::{Admin, KafkaLog, KafkaSettings};
use tidemark::log::{Log, NewRecord, ReadLimit, Topic};
use tidemark::ops::config::{Config, Sources};

use super::broker::{self, Broker, Options, Tls};
use super::specs;

const P: Partition = Partition(2);
const WRONG: &str = "not-the-password-7f3a";

/// One broker for all tests here. Stopped when this process ends.
fn tls() -> Option<Tls> {
    static BROKER: LazyLock<Result<Broker, String>> = LazyLock::new(|| {
        Broker::start_new(Options {
            tls: true,
            ..Options::default()
        })
    });
    match &*BROKER {
        Ok(broker) => Some(broker.tls()),
        Err(why) => broker::missing(why),
    }
}

/// Settings as a configuration file has them; the password comes from the environment variable that the file names.
fn settings(bootstrap: &str, prefix: &str, properties: &str, password: &str) -> KafkaSettings {
    let file = format!(
        "[log]\nengine = 'kafka'\n[kafka]\nbootstrap = '{bootstrap}'\ntopic_prefix = '{prefix}'\n[kafka.properties]\n{properties}"
    );
    let sources = Sources {
        file: Some(("test.toml".to_owned(), file)),
        ..Sources::default()
    };
    let config = Config::read(&sources).unwrap();
    let env = |name: &str| match name {
        "THE_PASSWORD" => Some(password.to_owned()),
        "THE_TOKEN" => Some("principal=tidemark".to_owned()),
        _ => None,
    };
    KafkaSettings::resolve(&config.kafka, &env).unwrap()
}

fn ca(tls: &Tls) -> String {
    format!("ssl.ca.location = '{}'\n", tls.ca.display())
}

fn login(tls: &Tls, mechanism: &str) -> String {
    format!(
        "security.protocol = 'sasl_ssl'\nsasl.mechanism = '{mechanism}'\nsasl.username = '{}'\nsasl.password = 'env:THE_PASSWORD'\n{}",
        tls.user,
        ca(tls)
    )
}

fn record(text: &'static str) -> NewRecord {
    NewRecord {
        key: Some(Bytes::from_static(b"k")),
        value: Bytes::from_static(text.as_bytes()),
        headers: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn a_log_is_written_and_read_behind_tls_with_and_without_a_login() {
    let Some(tls) = tls() else { return };
    // librdkafka makes the token itself, and the broker does not ask who signed it.
    let token = "enable.sasl.oauthbearer.unsecure.jwt = 'true'\nsasl.oauthbearer.config = 'env:THE_TOKEN'\n";
    let cases = [
        (&tls.sasl_ssl, login(&tls, "SCRAM-SHA-512")),
        (&tls.sasl_ssl, login(&tls, "PLAIN")),
        (&tls.sasl_ssl, login(&tls, "OAUTHBEARER") + token),
        (&tls.ssl, format!("security.protocol = 'ssl'\n{}", ca(&tls))),
    ];
    for (bootstrap, properties) in cases {
        eprintln!("{properties}");
        let settings = settings(bootstrap, &broker::prefix(), &properties, &tls.password);
        let applied = Admin::connect(&settings).unwrap().apply(&specs()).await;
        assert_eq!(applied.unwrap().mended.len(), specs().len());
        let log = KafkaLog::connect(settings, specs(), Epoch(0)).unwrap();
        let news = ["one", "two", "three"].map(record).to_vec();
        let offsets = log.append(Topic::UsageEvents, P, news.clone()).await;
        assert_eq!(offsets.unwrap(), [0, 1, 2].map(Offset));
        let mut read = Vec::new();
        while read.len() < news.len() {
            let from = Offset(read.len() as u64);
            let limit = ReadLimit {
                records: 10,
                bytes: 1 << 20,
            };
            let wait = std::time::Duration::from_secs(20);
            let more = log.read(Topic::UsageEvents, P, from, limit, wait).await;
            let more = more.unwrap();
            assert!(!more.is_empty(), "nothing within {wait:?}");
            read.extend(more.into_iter().map(|record| record.value));
        }
        let sent: Vec<Bytes> = news.into_iter().map(|record| record.value).collect();
        assert_eq!(read, sent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: .ci/run kafka"]
async fn what_is_wrong_with_a_login_or_a_certificate_is_said_and_the_password_is_not() {
    let Some(tls) = tls() else { return };
    let scram = login(&tls, "SCRAM-SHA-512");
    let no_ca = "security.protocol = 'ssl'\n".to_owned();
    // The same address under a name that the certificate does not have.
    let other_name = tls.sasl_ssl.replace("127.0.0.1", "127.1");
    let cases = [
        (&tls.sasl_ssl, scram.clone(), "uthentication failed"),
        (&tls.sasl_ssl, login(&tls, "PLAIN"), "uthentication failed"),
        (&tls.ssl, no_ca, "certificate verify failed"),
        (&other_name, scram, "certificate verify failed"),
    ];
    for (bootstrap, properties, said) in cases {
        let settings = settings(bootstrap, &broker::prefix(), &properties, WRONG);
        let shown = format!("{settings:?}");
        let log = KafkaLog::connect(settings, specs(), Epoch(0)).unwrap();
        let error = log.topic(Topic::UsageEvents).await.unwrap_err().to_string();
        assert!(error.contains(said), "{properties}{error}");
        for text in [&error, &shown] {
            assert!(!text.contains(WRONG), "{text}");
        }
    }
}
