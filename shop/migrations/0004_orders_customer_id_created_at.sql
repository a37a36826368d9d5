CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_customer_id_created_at ON orders (customer_id, created_at);
