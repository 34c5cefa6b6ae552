//! The tables: what stands in DynamoDB and under which names. Nothing outside this module knows an attribute.

pub mod db;
