//! The OpenAPI document and the reference page.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::*;

async fn document() -> Value {
    Fixture::default().ask(anonymous("GET", "!/openapi.json", "")).await.json()
}

fn references(part: &Value, found: &mut BTreeSet<String>) {
    match part {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_lists_every_route_and_status() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut table = String::new();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{name} names two operations");
            let statuses: Vec<_> = operation["responses"].as_object().expect("responses").keys().map(String::as_str).collect();
            table += &format!("{method} {path} {name}: {}\n", statuses.join(" "));
        }
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let document = document().await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let place = reference.strip_prefix('#').expect("a local reference");
        assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test]
async fn errors_are_enveloped_in_the_document_too() {
    let document = document().await;
    for (path, item) in document["paths"].as_object().expect("paths").iter().filter(|(path, _)| path.starts_with("/api/v1")) {
        for operation in item.as_object().expect("operations").values() {
            for (status, response) in operation["responses"].as_object().expect("responses") {
                let schema = response["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
                match status.as_str() {
                    "204" | "302" => assert_eq!(schema, "", "{path}"),
                    success if success < "300" => assert!(schema.starts_with("#/components/schemas/Envelope_"), "{path} {status}: {schema}"),
                    _ => assert_eq!(schema, "#/components/schemas/Error", "{path} {status}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn answers_have_all_keys_and_requests_may_leave_some_out() {
    let schemas = document().await["components"]["schemas"].clone();
    let required = |name: &str| schemas[name]["required"].as_array().map_or(0, Vec::len);
    let properties = |name: &str| schemas[name]["properties"].as_object().map_or(0, serde_json::Map::len);
    for answer in ["Envelope_Chat", "Message", "Error", "Meta", "LoggedInUser", "Participant"] {
        assert_eq!(required(answer), properties(answer), "{answer}");
    }
    for request in ["ProfileUpdate", "PrivacyUpdate", "NewMessage", "OtpVerification", "SyncRequest"] {
        assert!(required(request) < properties(request), "{request}");
    }
}

#[tokio::test]
async fn an_answer_matches_its_documented_keys() {
    let mut fixture = Fixture::default();
    fixture.chats.expect_get().return_once(|_, _| Ok(chat()));
    let answer = fixture.ask(request("GET", &format!("/chats/{ID}"), "")).await.json();
    let schema = document().await["components"]["schemas"]["Envelope_Chat"].clone();
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&answer), keys(&schema["properties"]));
    assert_eq!(keys(&answer["data"]), keys(&schema["properties"]["data"]["properties"]));
}

#[tokio::test]
async fn the_reference_page_needs_no_other_server() {
    for (path, base) in [("!/docs", "<base href=\"docs/\">"), ("!/docs/", "")] {
        let page = Fixture::default().ask(anonymous("GET", path, "")).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html")));
        assert!(page.text.contains(base));
        assert!(!page.text.contains("http://") && !page.text.contains("https://"), "the page loads something from elsewhere");
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    }
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js", "index.css"] {
        let answer = Fixture::default().ask(anonymous("HEAD", &format!("!/docs/{file}"), "")).await;
        assert_eq!(answer.status.as_u16(), 200, "{file}");
    }
    let settings = Fixture::default().ask(anonymous("GET", "!/docs/swagger-initializer.js", "")).await;
    assert!(settings.text.contains(r#""url": "../openapi.json""#) && settings.text.contains(r#""validatorUrl": "none""#));
    let absent = Fixture::default().ask(anonymous("GET", "!/docs/../../etc/passwd", "")).await;
    assert_eq!(absent.status.as_u16(), 404);
}
