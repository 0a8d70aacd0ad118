"""An example for each kind, step and transport, shown in the reference; a test loads every one of them."""

from __future__ import annotations

KINDS = {
    "Variables": """\
kind: Variables
name: here
values:
  PARTNER_URL: https://partner.example.com
  STOCK_URL: postgresql://stock.example.com/stock
""",
    "Secret": """\
kind: Secret
name: orders-key
from: {file: orders.key}
""",
    "Connection": """\
kind: Connection
name: crm
http:
  url: https://crm.example.com/api
  auth: {bearer: {secret: crm-token}}
""",
    "Service": """\
kind: Service
name: price
source: price.py:price
replicas: 2
config: {currency: EUR}
secrets: [tariff-key]
""",
    "Flow": """\
kind: Flow
name: orders
retry: {attempts: 5, backoff: 500ms..10s}
steps:
  - call: service/price
  - send: {to: connection/crm, path: /orders}
  - log: order {{ body.id }} is done
""",
    "Channel": """\
kind: Channel
name: orders-in
http:
  path: /orders
  auth: {api_key: {secret: orders-key}}
to: flow/orders
""",
}

STEPS = {
    "validate": """\
- validate:
    schema: {type: object, required: [id], properties: {id: {type: string}}}
""",
    "map": """\
- map: '{"id": order.id, "total": $sum(order.lines.(qty * price))}'
""",
    "parse": """\
- parse: {format: csv, delimiter: ";", encoding: latin-1}
- parse: auto
""",
    "format": """\
- format: {as: xml, root: orders, item: order}
- format: csv
""",
    "normalize": """\
- normalize:
    locale: de
    fields:
      id: {from: Nr, type: integer, required: true}
      customer: {from: Kunde.Name, case: upper, max: 40}
      ordered: {from: Datum, type: date, format: "%d.%m.%y"}
      total: {from: Summe, type: decimal}
      express: {type: boolean, true_is: [ja], false_is: [nein], default: false}
      lines: {type: list, from: Positionen, fields: {article: text, qty: integer}}
""",
    "when": """\
- when:
    if: body.total > 1000
    then:
      - call: service/approve
    else:
      - set: {body.approved_by: "'nobody'"}
""",
    "route": """\
- route:
    - when: headers['x-kind'] == 'return'
      then:
        - send: {to: flow/returns}
    - when: body.total > 1000
      then:
        - call: service/approve
    - otherwise:
        - log: an ordinary order
""",
    "filter": """\
- filter: body.total > 0 && headers['x-test'] != 'yes'
""",
    "split": """\
- split: body.lines
- split: {each: "body.lines.filter(line, line.qty > 0)", batch: 100}
""",
    "multicast": """\
- multicast:
    - - call: service/invoice
      - send: {to: connection/books, path: /invoices}
    - - send: {to: connection/warehouse, statement: "insert into orders (id) values (:id)"}
""",
    "set": """\
- set:
    body.total: body.net * 1.19
    headers.x-kind: "'large'"
    vars.tries: 3
""",
    "call": """\
- call: service/price
""",
    "send": """\
- send: {to: connection/warehouse, statement: "insert into orders (id) values (:id)"}
- send: {to: topic/prices}
""",
    "query": """\
- query:
    from: connection/warehouse
    statement: select quantity, price from stock where sku = :sku
    rows: one
    into: vars.stock
- query:
    from: connection/warehouse
    statement: call reserve(:order, :amount)
    params: {order: message.id, amount: body.quantity}
    into: body.reserved
""",
    "aggregate": """\
- aggregate: {by: body.customer, size: 100, after: 5s}
- aggregate: {split: true, into: body.lines, after: 1h}
- aggregate: {by: body.trip, complete: body.last, after: 10m}
""",
    "enrich": """\
- enrich:
    from: connection/warehouse
    statement: select quantity from stock where sku = :sku
    into: vars.stock
- enrich: {from: service/customer, ask: body.customer_id, into: body.customer}
""",
    "delay": """\
- delay: 5m
- delay: {until: body.not_before}
""",
    "throttle": """\
- throttle: 10/s
- throttle: {rate: 100/m, by: body.customer, burst: 5}
""",
    "callback": """\
- callback:
    url: body.reply_to
    headers: {X-Order: "{{ body.id }}"}
    allow: ["https://*.partner.example/hooks/*"]
""",
    "log": """\
- log: order {{ body.id }} is done
- log: {message: "order {{ body.id }} is large", level: warning}
""",
    "try": """\
- try:
    - call: service/price
  catch:
    - log: {message: "no price: {{ error.message }}", level: warning}
    - set: {body.total: 0}
""",
}

TRANSPORTS = {
    "exec": """\
kind: Connection
name: label
exec:
  command: [/usr/bin/awk, -f, "${ARINT_DATA}/label.awk"]
  timeout: 5s
  output: 64KiB
---
kind: Flow
name: labels
steps:
  - send: {to: connection/label, args: ["order={{ body.id }}"], into: body.label}
""",
    "file": """\
kind: Channel
name: orders-in
file:
  path: ${ARINT_DATA}/orders
  glob: "*.csv"
  records: {format: csv, delimiter: ";", encoding: latin-1, batch: 100}
to: flow/orders
---
kind: Connection
name: archive
file: {path: "${ARINT_DATA}/archive"}
---
kind: Flow
name: orders
steps:
  - format: ndjson
  - send: {to: connection/archive, name: "%Y-%m-%d/{{ headers['file-name'] }}.ndjson", if_exists: append}
""",
    "http": """\
kind: Channel
name: orders-in
http:
  path: /orders
  methods: [POST, PUT]
  auth: {basic: {user: shop, password: {secret: shop-password}}}
  limits: {body: 256KiB, timeout: 5s, concurrency: 200}
to: flow/orders
---
kind: Connection
name: partner
http:
  url: https://partner.example.com
  timeout: 2s
  probe: /health
---
kind: Flow
name: orders
steps:
  - send: {to: connection/partner, method: PUT, path: /orders, expect: [200, 201]}
""",
    "mail": """\
kind: Connection
name: post
mail:
  host: smtp.example.com
  from: Orders <orders@example.com>
  auth: {user: orders, password: {secret: mail-password}}
---
kind: Flow
name: invoices
steps:
  - send:
      to: connection/post
      recipients: ["{{ body.customer.email }}"]
      subject: Your order {{ body.id }}
      text: "Thank you, {{ body.customer.name }}. Your invoice is attached."
      attachments: [{name: "invoice-{{ body.id }}.json"}]
---
kind: Secret
name: mail-password
from: {env: MAIL_PASSWORD}
""",
    "sql": """\
kind: Channel
name: orders-in
sql:
  from: connection/warehouse
  query: select id, customer, total from web_orders
  by: key
  key: id
  every: 2s
to: flow/orders
---
kind: Channel
name: stock-api
http: {path: /stock}
to: connection/warehouse
delivery: immediate
queries:
  item:
    path: /{sku}
    statement: select sku, quantity from stock where sku = :sku
    params: {sku: {type: string, maxLength: 20}}
    rows: one
---
kind: Connection
name: warehouse
sql:
  url: sqlite:///${ARINT_DATA}/warehouse.db
  setup:
    - create table if not exists orders (id text primary key, customer text, message text)
---
kind: Flow
name: orders
steps:
  - send:
      to: connection/warehouse
      statement: insert into orders (id, customer, message) values (:id, :customer, :message)
      params: {customer: body.customer.email, message: message.id}
""",
}
