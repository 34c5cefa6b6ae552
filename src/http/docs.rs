//! The API document as a page: plain HTML, no scripts.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{Content, OpenApi, RefOr, Required};

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{max-width:60rem;margin:0 auto;padding:1rem}\
h1,h2{line-height:1.2}\
article{border:1px solid;border-radius:.5rem;padding:0 1rem;margin:1rem 0;overflow-wrap:anywhere}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em}\
pre{overflow:auto;padding:.5rem;border:1px dashed}\
table{border-collapse:collapse}\
td,th{text-align:left;vertical-align:top;padding:.15rem 1rem .15rem 0}\
.method{font-weight:bold;text-transform:uppercase}";

/// The whole page.
pub(super) fn page(document: &OpenApi) -> String {
    let schemas = schemas(document);
    let tags = document.tags.iter().flatten();
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (document.info.title) " API" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (document.info.title) " API, " (document.info.version) }
                @for text in paragraphs(document.info.description.as_deref()) { p { (text) } }
                p { "For programs: " a href="/openapi.json" { "/openapi.json" } }
                main {
                    @for tag in tags {
                        section {
                            h2 { (tag.name) }
                            @for text in paragraphs(tag.description.as_deref()) { p { (text) } }
                            @for (path, method, operation) in operations(document, &tag.name) {
                                (one(path, method, operation, &schemas))
                            }
                        }
                    }
                }
            }
        }
    };
    markup.into_string()
}

fn paragraphs(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.unwrap_or_default()
        .split("\n\n")
        .filter(|text| !text.is_empty())
}

/// Path, method and operation of everything under a tag.
fn operations<'d>(document: &'d OpenApi, tag: &str) -> Vec<(&'d str, &'static str, &'d Operation)> {
    let mut found = Vec::new();
    for (path, item) in &document.paths.paths {
        let methods = [
            ("get", &item.get),
            ("post", &item.post),
            ("put", &item.put),
            ("delete", &item.delete),
        ];
        for (method, operation) in methods {
            let is_tagged =
                |operation: &&Operation| operation.tags.iter().flatten().any(|found| found == tag);
            if let Some(operation) = operation.as_ref().filter(is_tagged) {
                found.push((path.as_str(), method, operation));
            }
        }
    }
    found
}

fn one(path: &str, method: &str, operation: &Operation, schemas: &Value) -> Markup {
    html! {
        article {
            h3 { span .method { (method) } " " code { (path) } }
            @for text in paragraphs(operation.summary.as_deref()) { p { (text) } }
            @for text in paragraphs(operation.description.as_deref()) { p { (text) } }
            @if let Some(scopes) = scopes(operation) {
                p { "Scope: " code { (scopes) } }
            } @else {
                p { "No key needed." }
            }
            @if let Some(parameters) = &operation.parameters {
                table {
                    @for parameter in parameters.iter().filter_map(inline) {
                        tr {
                            th { code { (parameter.name) } }
                            td { (place(&parameter.parameter_in)) @if parameter.required == Required::True { ", required" } }
                            td { (parameter.description.as_deref().unwrap_or_default()) }
                        }
                    }
                }
            }
            @if let Some(body) = operation.request_body.as_ref().and_then(inline) {
                @for (media_type, content) in &body.content {
                    p { "Body: " code { (media_type) } }
                    @let fields = inline(content).map(|content| fields(content, schemas)).unwrap_or_default();
                    @if !fields.is_empty() { (table_of(&fields)) }
                    @if let Some(example) = inline(content).and_then(|content| content.example.as_ref()) { pre { (pretty(example)) } }
                }
            }
            table {
                @for (status, answer) in &operation.responses.responses {
                    tr {
                        th { (status) }
                        td { @if let Some(answer) = inline(answer) { (answer.description) } }
                    }
                }
            }
        }
    }
}

/// The schemas to which bodies refer, as JSON.
fn schemas(document: &OpenApi) -> Value {
    let components = serde_json::to_value(&document.components).unwrap_or_default();
    components["schemas"].clone()
}

/// A field of a body.
struct Field {
    name: String,
    kind: String,
    is_required: bool,
    description: String,
}

/// The fields of a body, in the order of their declaration; none of one that has no form of ours.
fn fields(content: &Content, schemas: &Value) -> Vec<Field> {
    let schema = serde_json::to_value(&content.schema).unwrap_or_default();
    let schema = match referred(&schema) {
        Some(name) => &schemas[name],
        None => &schema,
    };
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
    let members = schema["properties"].as_object().into_iter().flatten();
    let fields = members.map(|(name, member)| Field {
        kind: kind(member),
        is_required: is_required(name),
        description: member["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        name: name.clone(),
    });
    fields.collect()
}

/// The name of the schema to which one refers.
fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// What a field holds, in a word or two.
fn kind(schema: &Value) -> String {
    if let Some(name) = referred(schema) {
        return name.to_owned();
    }
    let of = |schema: &Value| match schema["type"].as_str() {
        Some("array") => format!("array of {}", kind(&schema["items"])),
        Some(name) => name.to_owned(),
        None => "any JSON".to_owned(),
    };
    match schema["type"].as_array() {
        // `null` beside another type: the field may be left out.
        Some(types) => {
            let types = types.iter().filter_map(Value::as_str);
            let types: Vec<&str> = types.filter(|name| *name != "null").collect();
            types.join(" or ")
        }
        None => of(schema),
    }
}

fn table_of(fields: &[Field]) -> Markup {
    html! {
        table {
            @for field in fields {
                tr {
                    th { code { (field.name) } }
                    td { (field.kind) @if field.is_required { ", required" } }
                    td { (field.description) }
                }
            }
        }
    }
}

/// The document has no references but to schemas.
fn inline<T>(maybe: &RefOr<T>) -> Option<&T> {
    match maybe {
        RefOr::T(inline) => Some(inline),
        RefOr::Ref(_) => None,
    }
}

fn place(place: &ParameterIn) -> &'static str {
    match place {
        ParameterIn::Path => "in the path",
        ParameterIn::Query | ParameterIn::QueryString => "in the query",
        ParameterIn::Header => "a header",
        ParameterIn::Cookie => "a cookie",
    }
}

/// The scopes of which one is needed; `None`: no key is needed.
fn scopes(operation: &Operation) -> Option<String> {
    let needed = operation.security.as_ref()?;
    let value = serde_json::to_value(needed).unwrap_or_default();
    let scopes = value.as_array()?.iter();
    let scopes = scopes.filter_map(|one| one.get("key")?.as_array()?.first()?.as_str());
    Some(scopes.collect::<Vec<_>>().join(" or "))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
