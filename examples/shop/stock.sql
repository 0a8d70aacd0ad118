create table stock (
  article  text primary key,
  title    text not null,
  cents    integer not null,
  quantity integer not null check (quantity >= 0)
);
create table orders (
  id          text primary key,
  customer    text not null,
  total_cents integer not null,
  message     text not null,
  at_partner  timestamptz
);
insert into stock values
  ('TEA-ASSAM', 'Assam, 250 g', 790, 100),
  ('TEA-SENCHA', 'Sencha, 100 g', 1150, 40),
  ('POT-1L', 'Teapot, 1 litre', 3900, 6),
  ('CUP-BLUE', 'Cup, blue', 1250, 48);
