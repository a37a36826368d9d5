//! From each source to a scenario that the load engine takes.

use expect_test::{Expect, expect};
use load::{Operation, Scenario, Variable};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::Deserialize;
use std::collections::BTreeMap;
use traffic::{Exchange, Learner, Options, Plan, Source};

/// What of a settings file is the scenario.
#[derive(Deserialize)]
struct File {
    goals: Vec<String>,
    service: Service,
    load: Load,
}

#[derive(Deserialize)]
struct Service {
    url: String,
}

#[derive(Deserialize)]
struct Load {
    rate: f64,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    operation: Vec<Operation>,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
}

/// The text is accepted by the engine, whatever it holds.
#[track_caller]
fn accepted(plan: &Plan) -> String {
    let text = traffic::toml(plan);
    let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(file.load.rate > 0.0);
    for goal in &file.goals {
        goal.parse::<model::Goal>().unwrap_or_else(|error| panic!("{error}"));
    }
    if plan.used().next().is_some() {
        let Load { headers, operation, variables, .. } = file.load;
        let scenario = Scenario { base_url: file.service.url, headers, operations: operation, variables };
        scenario.check().unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    }
    text
}

#[track_caller]
fn check(plan: &Plan, expected: &Expect) {
    expected.assert_eq(&accepted(plan));
}

fn of_log(log: &str, options: &Options) -> Plan {
    let mut learner = Learner::default();
    let read = access_log::Options::default();
    access_log::scan(log.as_bytes(), &read, |r| learner.learn(&Exchange::from(r))).expect("a log");
    access_log::scan(log.as_bytes(), &read, |r| learner.count(&Exchange::from(r))).expect("a log");
    let source = Source { name: "access.log".to_owned(), what: "requests of an access log".to_owned() };
    learner.plan(source, None, options)
}

/// 400 seconds: orders of three customers, a search with and without page, writes, a scanner, tokens.
fn log() -> String {
    let mut out = String::new();
    for second in 0..400_u64 {
        let request = match second % 10 {
            0..=3 => format!("GET /customers/{}/orders", [7, 7, 7, 19][(second % 4) as usize]),
            4 => format!(
                "GET /search?q={}&page={}",
                ["tea", "red%20pot"][(second / 10 % 2) as usize],
                second / 10 % 3
            ),
            5 => "GET /search?q=tea".to_owned(),
            6 => format!("GET /files/report?access_token=hush{second}&format=csv"),
            7 => "POST /orders".to_owned(),
            8 => "DELETE /orders/17".to_owned(),
            _ => "GET /.env".to_owned(),
        };
        let status = if second % 10 == 9 { 404 } else { 200 };
        out.push_str(&format!(
            "10.0.0.{} - - [22/Nov/2026:21:{:02}:{:02} +0000] \"{request} HTTP/1.1\" {status} 512 \"-\" \"x\" 0.0{:02}\n",
            second % 3, second / 60, second % 60, 10 + second % 50
        ));
    }
    out
}

#[test]
fn an_access_log_becomes_mix_values_rate_and_sessions() {
    let plan = of_log(&log(), &Options::default());
    assert!(!traffic::toml(&plan).contains("hush"));
    check(
        &plan,
        &expect![[r##"
            # Made by `trimtab load from access.log`: requests of an access log.
            # Edit it, then `trimtab load run` or `trimtab measure`. Weights are shares of the arrivals.
            # - 2 operations that change data are written as comments; --writes keeps them
            # - 3 sessions of 120.0 requests; between two requests of a client 3.0 s at the median, 6.0 s for one in ten (arrivals are open: the rate holds them)
            # - 40 requests are left out: paths that were not found, or no HTTP requests
            # - secrets were removed; set these in the environment: ${ACCESS_TOKEN}

            goals = [
                "errors(*) < 1 %",
                "p95(GET /customers/{id}/orders) < 58 ms",   # seen: 52.0 ms
                "p95(GET /files/report) < 62 ms",   # seen: 56.1 ms
                "p95(GET /search) < 60 ms",   # seen: 53.7 ms
                "p95(GET /search ?q) < 250 ms",
            ]

            [service]
            url = "http://127.0.0.1:8080"   # not in the source: the service to load

            [load]
            rate = 0.902   # 360 requests in 399 s are 0.902/s; the busiest minute had 0.900/s
            warm_up_s = 3
            duration_s = 120   # 15 requests of the rarest operation with a goal; a p95 needs 100
            headers = { "accept" = "*/*" }

            # 160 requests, 44.4 %; 200 100 %; p50 30.9 ms, p95 52.0 ms
            [[load.operation]]
            name = "GET /customers/{id}/orders"
            path = "/customers/{{customer_id}}/orders"
            weight = 44.4

            # 40 requests, 11.1 %; 200 100 %; p50 36.0 ms, p95 56.1 ms
            [[load.operation]]
            name = "GET /files/report"
            path = "/files/report?access_token=${ACCESS_TOKEN}&format=csv"
            weight = 11.1

            # 40 requests, 11.1 %; 200 100 %; p50 34.1 ms, p95 53.7 ms
            [[load.operation]]
            name = "GET /search"
            path = "/search?page={{search_page}}&q={{search_q}}"
            weight = 11.1

            # 40 requests, 11.1 %; 200 100 %; p50 34.9 ms, p95 54.9 ms
            [[load.operation]]
            name = "GET /search ?q"
            path = "/search?q=tea"
            weight = 11.1

            # 40 requests, 11.1 %; 200 100 %; p50 38.0 ms, p95 58.0 ms
            # Held back: it changes data; --writes keeps it
            # [[load.operation]]
            # name = "DELETE /orders/{id}"
            # method = "DELETE"
            # path = "/orders/{{order_id}}"
            # weight = 11.1

            # 40 requests, 11.1 %; 200 100 %; p50 37.2 ms, p95 56.7 ms
            # Held back: it changes data; --writes keeps it
            # [[load.operation]]
            # name = "POST /orders"
            # method = "POST"
            # path = "/orders"
            # weight = 11.1

            # Drawn anew for each request.
            [load.variables]
            # as often as they came in 160 requests
            customer_id = { kind = "list", values = ["7", "7", "7", "19"] }
            # as often as they came in 40 requests
            # order_id = { kind = "list", values = ["17"] }
            # as often as they came in 40 requests
            search_page = { kind = "list", values = ["0", "1", "2"] }
            # as often as they came in 40 requests
            search_q = { kind = "list", values = ["tea", "red pot"] }
        "##]],
    );
}

#[test]
fn writes_are_kept_where_asked_and_the_peak_is_a_rate() {
    let options = Options {
        writes: true,
        peak: true,
        max_operations: 3,
        url: Some("http://127.0.0.1:9/api".to_owned()),
        flow: false,
    };
    let plan = of_log(&log(), &options);
    let text = accepted(&plan);
    assert_eq!(plan.operations.len(), 3);
    assert!(plan.used().count() == 3 && text.contains("rarer operations"), "{text}");
    assert!((plan.rate - 1.0).abs() < 0.11, "{}", plan.rate);
}

const HAR: &str = r#"{"log":{"version":"1.2","entries":[
 {"startedDateTime":"2026-11-22T21:03:05.123Z","time":12.5,"request":{"method":"GET","url":"https://shop.example/api/orders/17?expand=items","headers":[{"name":"Accept","value":"application/json"},{"name":"Cookie","value":"sid=hush"},{"name":"Authorization","value":"Bearer hush"}]},"response":{"status":200}},
 {"startedDateTime":"2026-11-22T21:03:06.123Z","time":12.5,"request":{"method":"POST","url":"https://shop.example/api/login","headers":[{"name":"Content-Type","value":"application/json"}],"postData":{"mimeType":"application/json","text":"{\"user\":\"ann\",\"password\":\"hush\"}"}},"response":{"status":200}},
 {"startedDateTime":"2026-11-22T21:03:07.123Z","time":1,"request":{"method":"GET","url":"https://cdn.example/x.js","headers":[]},"response":{"status":200}}
]}}"#;

#[test]
fn a_har_file_keeps_bodies_and_loses_secrets() {
    let document = traffic::document(HAR).expect("json");
    let plan = traffic::har(&document, "shop.har", &Options::default()).expect("a plan");
    assert!(!traffic::toml(&plan).contains("hush"));
    check(
        &plan,
        &expect![[r##"
            # Made by `trimtab load from shop.har`: 2 requests of a HAR file.
            # Edit it, then `trimtab load run` or `trimtab measure`. Weights are shares of the arrivals.
            # - 1 operations that change data are written as comments; --writes keeps them
            # - 1 requests to other hosts than https://shop.example are left out
            # - secrets were removed; set these in the environment: ${AUTHORIZATION}, ${COOKIE}, ${PASSWORD}

            goals = [
                "errors(*) < 1 %",
                "p95(GET /api/orders/{id}) < 250 ms",
            ]

            [service]
            url = "https://shop.example"   # as in the source: make sure that it may be loaded

            [load]
            rate = 1   # 2 requests in 2 s are 1.000/s; the busiest second had 1.000/s
            warm_up_s = 3
            duration_s = 110   # 110 requests of the rarest operation with a goal; a p95 needs 100
            headers = { "accept" = "*/*" }

            # 1 requests, 50.0 %; 200 100 %; p50 12.5 ms, p95 12.5 ms
            [[load.operation]]
            name = "GET /api/orders/{id}"
            path = "/api/orders/{{order_id}}?expand=items"
            weight = 50
            headers = { "accept" = "application/json", "authorization" = "${AUTHORIZATION}", "cookie" = "${COOKIE}" }

            # 1 requests, 50.0 %; 200 100 %; p50 12.5 ms, p95 12.5 ms
            # Held back: it changes data; --writes keeps it
            # [[load.operation]]
            # name = "POST /api/login"
            # method = "POST"
            # path = "/api/login"
            # weight = 50
            # headers = { "content-type" = "application/json" }
            # body = '{"password":"${PASSWORD}","user":"ann"}'

            # Drawn anew for each request.
            [load.variables]
            # as often as they came in 1 requests
            order_id = { kind = "list", values = ["17"] }
        "##]],
    );
}

/// A login whose answer gives a token and an id, and what is done with them.
const WALK: &str = r##"{"log":{"version":"1.2","entries":[
{"startedDateTime":"2026-11-20T09:00:00.000Z","time":40,"request":{"method":"POST","url":"https://app.example/api/login","headers":[],"postData":{"mimeType":"application/json","text":"{\"user\":\"ann\",\"password\":\"hush\"}"}},"response":{"status":200,"content":{"mimeType":"application/json","text":"{\"token\":\"eyJhbGciOiJIUzI1NiJ9.e30.x\",\"user\":{\"id\":4711}}"}}},
{"startedDateTime":"2026-11-20T09:00:02.540Z","time":10,"request":{"method":"GET","url":"https://app.example/api/users/4711/carts?page=1","headers":[{"name":"Authorization","value":"Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"}]},"response":{"status":200,"content":{"mimeType":"application/json","text":"[{\"id\":\"c-9931\"}]"}}},
{"startedDateTime":"2026-11-20T09:00:02.600Z","time":10,"request":{"method":"OPTIONS","url":"https://app.example/api/carts","headers":[]},"response":{"status":204,"content":{}}},
{"startedDateTime":"2026-11-20T09:00:02.700Z","time":10,"request":{"method":"GET","url":"https://app.example/logo.png","headers":[]},"response":{"status":200,"content":{"mimeType":"image/png"}}},
{"startedDateTime":"2026-11-20T09:00:04.050Z","time":10,"request":{"method":"PUT","url":"https://app.example/api/carts/c-9931","headers":[{"name":"Authorization","value":"Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"}],"postData":{"mimeType":"application/json","text":"{\"owner\":4711,\"note\":\"{{x\"}"}},"response":{"status":200,"content":{}}},
{"startedDateTime":"2026-11-20T09:00:04.100Z","time":10,"request":{"method":"GET","url":"https://fonts.example/a.woff2","headers":[]},"response":{"status":200,"content":{}}}
]}}"##;

#[test]
fn a_har_file_as_a_flow_takes_ids_and_tokens_from_the_answers() {
    let document = traffic::document(WALK).expect("json");
    let of = |writes: bool| {
        let options = Options { flow: true, writes, ..Options::default() };
        traffic::har(&document, "walk.har", &options).expect("a plan")
    };
    check(
        &of(true),
        &expect![[r##"
        # Made by `trimtab load from walk.har`: one user's flow of 5 requests of a HAR file.
        # Edit it, then `trimtab load run` or `trimtab measure`. Weights are shares of the arrivals.
        # - 1 preflight requests of the browser are left out
        # - 1 requests for scripts, styles, fonts and images are left out: caches answer them
        # - 1 requests to other hosts than https://app.example are left out
        # - 3 values are taken from earlier responses; the others are as recorded
        # - secrets were removed; set these in the environment: ${PASSWORD}

        goals = [
            "errors(*) < 1 %",
            "p95(POST /api/login) < 250 ms",
            "p95(GET /api/users/{id}/carts) < 250 ms",
            "p95(PUT /api/carts/{id}) < 250 ms",
        ]

        [service]
        url = "https://app.example"   # as in the source: make sure that it may be loaded

        [load]
        rate = 1   # flows that begin each second; a recording of one user tells none: choose it
        warm_up_s = 3
        duration_s = 110   # 110 requests of the rarest operation with a goal; a p95 needs 100
        headers = { "accept" = "*/*" }

        [[load.operation]]
        name = "POST /api/login"
        method = "POST"
        path = "/api/login"
        weight = 1
        body = '{"password":"${PASSWORD}","user":"ann"}'
        extract = { id = { json = "/user/id" }, token = { json = "/token" } }
        then = [
            { name = "GET /api/users/{id}/carts", path = "/api/users/{{id}}/carts?page=1", pause_s = 2.5, headers = { "authorization" = "Bearer {{token}}" }, extract = { id_2 = { json = "/0/id" } } },
            { name = "PUT /api/carts/{id}", method = "PUT", path = "/api/carts/{{id_2}}", pause_s = 1.5, headers = { "authorization" = "Bearer {{token}}" }, body = '{"note":"{ {x","owner":{{id}}}' },
        ]
    "##]],
    );
    let reads = accepted(&of(false));
    assert!(reads.contains("${AUTHORIZATION}") && reads.contains("/api/users/4711/carts"), "{reads}");
}

#[test]
fn a_server_that_is_a_path_alone_stands_behind_the_address_that_is_given() {
    let described = |servers: &str| {
        let text = format!(r#"{{"openapi":"3.1.0","servers":[{servers}],"paths":{{"/a":{{"get":{{}}}}}}}}"#);
        traffic::document(&text).expect("json")
    };
    let base = |servers: &str, url: &str| {
        let options = Options { url: Some(url.to_owned()), ..Options::default() };
        traffic::openapi(&described(servers), "it", &options).expect("a plan").base_url
    };
    assert_eq!(base(r#"{"url":"/api/v1/"}"#, "http://127.0.0.1:80"), "http://127.0.0.1:80/api/v1");
    assert_eq!(
        base(r#"{"url":"https://live.example/api"}"#, "http://127.0.0.1:80/"),
        "http://127.0.0.1:80/api"
    );
    assert_eq!(base(r#"{"url":"/api"}"#, "http://127.0.0.1:80/mine"), "http://127.0.0.1:80/mine");
    assert_eq!(base("", "http://127.0.0.1:80"), "http://127.0.0.1:80");
}

#[test]
fn of_too_many_operations_those_that_change_nothing_stay() {
    let item = |n: u32| format!(r#""/a{n}":{{"get":{{}},"delete":{{}},"post":{{}}}}"#);
    let paths = (0..30).map(item).collect::<Vec<_>>().join(",");
    let document = traffic::document(&format!(r#"{{"openapi":"3.1.0","paths":{{{paths}}}}}"#)).expect("json");
    let options = Options { max_operations: 20, ..Options::default() };
    let plan = traffic::openapi(&document, "it", &options).expect("a plan");
    assert_eq!((plan.operations.len(), plan.used().count()), (20, 20));
}

const OPENAPI: &str = r#"
openapi: 3.0
info: { title: Shop, version: '1' }
servers: [{ url: 'https://{region}.shop.example/v1', variables: { region: { default: eu } } }]
components:
  securitySchemes: { key: { type: apiKey, in: header, name: X-Api-Key } }
  schemas:
    Order:
      type: object
      properties:
        id: { type: integer }
        customer: { $ref: '#/components/schemas/Customer' }
        items: { type: array, items: { type: object, properties: { sku: { type: string, example: tea-1 }, quantity: { type: integer, minimum: 2 } } } }
    Customer:
      type: object
      properties:
        name: { type: string }
        password: { type: string, example: hush }
        friend: { $ref: '#/components/schemas/Customer' }
paths:
  /orders/{orderId}:
    parameters: [{ name: orderId, in: path, required: true, schema: { type: integer, minimum: 1, maximum: 500 } }]
    get:
      summary: One order
      parameters: [{ name: fields, in: query, schema: { type: string, enum: [all, short] }, required: true }, { name: api_key, in: query, required: true, schema: { type: string } }]
  /orders:
    post:
      summary: Make an order
      requestBody: { content: { application/json: { schema: { $ref: '#/components/schemas/Order' } } } }
"#;

#[test]
fn an_openapi_description_in_yaml_gives_values_and_bodies() {
    let document = traffic::document(OPENAPI).expect("yaml");
    let plan = traffic::openapi(&document, "openapi.yaml", &Options { writes: true, ..Options::default() })
        .expect("a plan");
    assert!(!traffic::toml(&plan).contains("hush"));
    check(
        &plan,
        &expect![[r##"
            # Made by `trimtab load from openapi.yaml`: an OpenAPI description of 2 operations.
            # Edit it, then `trimtab load run` or `trimtab measure`. Weights are shares of the arrivals.
            # - secrets were removed; set these in the environment: ${API_KEY}, ${PASSWORD}, ${X_API_KEY}
            # - weights are all alike: give each operation its share

            goals = [
                "errors(*) < 1 %",
                "p95(GET /orders/{orderId}) < 250 ms",
                "p95(POST /orders) < 250 ms",
            ]

            [service]
            url = "https://eu.shop.example/v1"   # as in the source: make sure that it may be loaded

            [load]
            rate = 10   # a description tells neither rate nor mix: choose them
            warm_up_s = 3
            duration_s = 30   # 150 requests of the rarest operation with a goal; a p95 needs 100
            headers = { "x-api-key" = "${X_API_KEY}" }

            # One order
            [[load.operation]]
            name = "GET /orders/{orderId}"
            path = "/orders/{{order_id}}?fields={{fields}}&api_key=${API_KEY}"
            weight = 1

            # Make an order
            [[load.operation]]
            name = "POST /orders"
            method = "POST"
            path = "/orders"
            weight = 1
            headers = { "content-type" = "application/json" }
            body = '{"customer":{"name":"text","password":"${PASSWORD}"},"id":1,"items":[{"quantity":2,"sku":"tea-1"}]}'

            # Drawn anew for each request.
            [load.variables]
            # the description's values
            fields = { kind = "list", values = ["all", "short"] }
            # by the schema: give ids that exist
            order_id = { kind = "integer", from = 1, to = 500 }
        "##]],
    );
}

const POSTMAN: &str = r#"{"info":{"name":"Shop","schema":"https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
"variable":[{"key":"baseUrl","value":"http://127.0.0.1:8080/api"},{"key":"orderId","value":"17"},{"key":"apiToken","value":"hush"}],
"item":[{"name":"orders","item":[
 {"name":"One order","request":{"method":"GET","url":{"raw":"{{baseUrl}}/orders/{{orderId}}?expand=items&token={{apiToken}}"},"header":[{"key":"Authorization","value":"Bearer hush"}]}},
 {"name":"By customer","request":{"method":"GET","url":{"raw":"{{baseUrl}}/customers/:customer/orders","variable":[{"key":"customer","value":"7"}]}}},
 {"name":"New","request":{"method":"POST","url":"{{baseUrl}}/orders","body":{"mode":"raw","raw":"{\"id\":\"{{$guid}}\",\"secret\":\"hush\"}","options":{"raw":{"language":"json"}}}}}
]}]}"#;

#[test]
fn a_postman_collection_keeps_its_variables() {
    let document = traffic::document(POSTMAN).expect("json");
    let plan = traffic::postman(&document, "shop.json", &Options { writes: true, ..Options::default() })
        .expect("a plan");
    assert!(!traffic::toml(&plan).contains("hush"));
    check(
        &plan,
        &expect![[r##"
            # Made by `trimtab load from shop.json`: 3 requests of a Postman collection.
            # Edit it, then `trimtab load run` or `trimtab measure`. Weights are shares of the arrivals.
            # - secrets were removed; set these in the environment: ${API_TOKEN}, ${AUTHORIZATION}, ${SECRET}

            goals = [
                "errors(*) < 1 %",
                "p95(GET /customers/{customer}/orders) < 250 ms",
                "p95(GET /orders/{order_id}) < 250 ms",
                "p95(POST /orders) < 250 ms",
            ]

            [service]
            url = "http://127.0.0.1:8080/api"   # as in the source: make sure that it may be loaded

            [load]
            rate = 10   # a collection tells no rate: choose one
            warm_up_s = 3
            duration_s = 40   # 133 requests of the rarest operation with a goal; a p95 needs 100

            # By customer
            [[load.operation]]
            name = "GET /customers/{customer}/orders"
            path = "/customers/{{customer}}/orders"
            weight = 1

            # One order
            [[load.operation]]
            name = "GET /orders/{order_id}"
            path = "/orders/{{order_id}}?expand=items&token={{api_token}}"
            weight = 1
            headers = { "authorization" = "${AUTHORIZATION}" }

            # New
            [[load.operation]]
            name = "POST /orders"
            method = "POST"
            path = "/orders"
            weight = 1
            headers = { "content-type" = "application/json" }
            body = '{"id":"{{guid}}","secret":"${SECRET}"}'

            # Drawn anew for each request.
            [load.variables]
            # a secret of the collection
            api_token = { kind = "list", values = ["${API_TOKEN}"] }
            # the collection's value
            customer = { kind = "list", values = ["7"] }
            # Postman's {{$guid}}
            guid = { kind = "uuid" }
            # the collection's value
            order_id = { kind = "list", values = ["17"] }
        "##]],
    );
}

#[test]
fn traces_and_recordings_tell_what_came_in() {
    let drawing = "repeat 20\nweb server \"GET /orders/{id}\" 0..50 http.route=/orders/{id} url.path=/orders/17\n  api server \"GET /stock/{id}\" 10..20\n\nweb server \"POST /orders\" 0..10";
    let recording = model::Recording {
        spans: model::fixture::spans(drawing).expect("a drawing"),
        ..model::Recording::default()
    };
    let plan = traffic::recorded(&recording, "traces.json", None, &Options::default()).expect("a plan");
    let text = accepted(&plan);
    assert!(text.contains("name = \"GET /orders/{id}\"") && !text.contains("/stock"), "{text}");
}

#[test]
fn no_mutation_of_a_document_panics_and_every_plan_is_accepted() {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
    let marks = b"\"[]{}:,\\/ \n-#&*'%$0e\xc3";
    for round in 0..2400 {
        let seed = [HAR, OPENAPI, POSTMAN, WALK][round % 4];
        let mut bytes = seed.as_bytes().to_vec();
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..bytes.len());
            match random.random_range(0..3) {
                0 => bytes[at] = marks[random.random_range(0..marks.len())],
                1 => bytes.insert(at, marks[random.random_range(0..marks.len())]),
                _ => {
                    let end = (at + random.random_range(1..20)).min(bytes.len() - 1);
                    bytes.drain(at.min(end)..end);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let Ok(document) = traffic::document(&text) else { continue };
        let options = Options { writes: true, ..Options::default() };
        for plan in [
            traffic::har(&document, "x", &options),
            traffic::har(&document, "x", &Options { flow: true, ..options.clone() }),
            traffic::openapi(&document, "x", &options),
            traffic::postman(&document, "x", &options),
        ]
        .into_iter()
        .flatten()
        {
            // An address that the change broke is the user's to mend.
            let plan = Plan { base_url: "http://127.0.0.1:1".to_owned(), ..plan };
            accepted(&plan);
        }
    }
}

#[test]
fn secrets_in_paths_and_in_many_values_of_one_key_are_no_data() {
    let mut log = String::new();
    for number in 0..120_u64 {
        let request = match number % 4 {
            0 => format!("GET /reset-password/3f9ac0d1e2b34455{number:04}"),
            1 => format!("GET /items?view=eyJhbGciOiJIUzI1NiJ9.{number}"),
            2 => "GET /shares/glpat-0123456789abcdefgh".to_owned(),
            _ => "GET /auth/login".to_owned(),
        };
        log.push_str(&format!(
            "10.0.0.1 - - [01/Nov/2026:10:{:02}:{:02} +0000] \"{request} HTTP/1.1\" 200 100 \"-\" \"x\"\n",
            number / 60,
            number % 60
        ));
    }
    let text = accepted(&of_log(&log, &Options::default()));
    for secret in ["3f9ac0d1", "eyJ", "glpat"] {
        assert!(!text.contains(secret), "{secret} in\n{text}");
    }
    assert!(text.contains("/auth/login"), "{text}");
}

#[test]
fn a_flow_has_no_secrets_in_its_paths() {
    let har = serde_json::json!({ "log": { "entries": [
        { "startedDateTime": "2026-11-01T10:00:00.000Z", "time": 12,
          "request": { "method": "GET", "url": "http://shop.test/auth/login", "headers": [] },
          "response": { "status": 200, "content": { "mimeType": "application/json" } } },
        { "startedDateTime": "2026-11-01T10:00:02.000Z", "time": 12,
          "request": { "method": "GET", "url": "http://shop.test/invite-token/3f9ac0d1e2b344550001/join", "headers": [] },
          "response": { "status": 200, "content": { "mimeType": "application/json" } } },
    ] } });
    let options = Options { flow: true, ..Options::default() };
    let text = accepted(&traffic::har(&har, "a.har", &options).expect("a flow"));
    assert!(!text.contains("3f9ac0d1") && text.contains("/auth/login"), "{text}");
}
