//! What is asked of topics.

use std::collections::HashSet;

use krafka::admin::{AdminClient, CreateTopicsOptions, DescribeTopicsOptions, NewTopic};
use krafka::error::ErrorCode;
use krafka::{Kafka, KrafkaError};

use super::error::KafkaError;

/// What is asked of the topics that are published to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KafkaTopics {
    creates: bool,
    partitions: Option<u16>,
    replication: Option<u16>,
    compacted: bool,
}

impl KafkaTopics {
    /// Topics are made where they are missing.
    #[must_use]
    pub fn create(mut self) -> Self {
        self.creates = true;
        self
    }

    /// Topics have that many partitions: those that are made get them, and one that has fewer is not
    /// published to. By default it is the broker's choice, and any number will do.
    ///
    /// Who adds partitions later should know that keys change their partition then: what is already
    /// there stays where it is, so that the order within a key holds from then on only.
    #[must_use]
    pub fn partitions(mut self, count: u16) -> Self {
        self.partitions = Some(count);
        self
    }

    /// Topics that are made have that many replicas. By default it is the broker's choice.
    #[must_use]
    pub fn replication(mut self, count: u16) -> Self {
        self.replication = Some(count);
        self
    }

    /// Topics that are made are compacted: of each key they keep the last message.
    #[must_use]
    pub fn compacted(mut self) -> Self {
        self.compacted = true;
        self
    }

    fn new_topic(self, name: &str) -> Result<NewTopic, KrafkaError> {
        let partitions = self.partitions.map_or(-1, i32::from);
        let replication = self.replication.map_or(-1, |count| i16::try_from(count).unwrap_or(-1));
        let topic = NewTopic::new(name, partitions, replication)?;
        Ok(if self.compacted { topic.with_config("cleanup.policy", "compact") } else { topic })
    }
}

/// Looks topics up once each.
#[derive(Debug)]
pub(super) struct Topics {
    admin: AdminClient,
    demands: KafkaTopics,
    known: HashSet<String>,
}

impl Topics {
    pub(super) fn new(kafka: &Kafka, demands: KafkaTopics) -> Self {
        Self { admin: kafka.admin(), demands, known: HashSet::new() }
    }

    /// Sees to it that the topic is there, and as it is asked for.
    pub(super) async fn ensure(&mut self, name: &str) -> Result<(), KafkaError> {
        if self.known.contains(name) {
            return Ok(());
        }
        let wanted = self.demands.partitions;
        match self.partitions_of(name).await? {
            None if self.demands.creates => self.create(self.demands.new_topic(name)?).await?,
            None => {
                let topic = name.to_owned();
                return Err(KafkaError::UnknownTopic { topic, partitions: wanted.unwrap_or(1) });
            }
            Some(count) if wanted.is_some_and(|wanted| count < usize::from(wanted)) => {
                let (topic, wanted) = (name.to_owned(), wanted.unwrap_or_default());
                return Err(KafkaError::FewPartitions { topic, count, wanted });
            }
            Some(_) => {}
        }
        self.known.insert(name.to_owned());
        Ok(())
    }

    /// Sees to it that the topic with the checkpoint is there.
    pub(super) async fn ensure_checkpoints(&self, name: &str) -> Result<(), KafkaError> {
        if self.partitions_of(name).await?.is_some() {
            return Ok(());
        }
        let replication = self.demands.replication.and_then(|count| i16::try_from(count).ok());
        let topic = NewTopic::new(name, 1, replication.unwrap_or(-1))?
            .with_config("cleanup.policy", "compact")
            // Small segments are compacted soon, so that a relay that begins reads little.
            .with_config("segment.bytes", "16777216")
            .with_config("min.cleanable.dirty.ratio", "0.1");
        self.create(topic).await
    }

    async fn partitions_of(&self, name: &str) -> Result<Option<usize>, KafkaError> {
        let options = DescribeTopicsOptions::default();
        let mut described = self.admin.describe_topics([name], options).await?;
        match described.remove(name) {
            Some(Ok(topic)) => Ok(Some(topic.partitions.len())),
            Some(Err(error)) if !is_unknown(&error) => Err(error.into()),
            Some(Err(_)) | None => Ok(None),
        }
    }

    async fn create(&self, topic: NewTopic) -> Result<(), KafkaError> {
        let created = self.admin.create_topics([topic], CreateTopicsOptions::default()).await?;
        for (_, outcome) in created {
            match outcome {
                // Another relay was faster.
                Ok(()) | Err(KrafkaError::Broker { code: ErrorCode::TopicAlreadyExists, .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn is_unknown(error: &KrafkaError) -> bool {
    matches!(
        error,
        KrafkaError::UnknownTopic { .. }
            | KrafkaError::Broker { code: ErrorCode::UnknownTopicOrPartition, .. }
    )
}
