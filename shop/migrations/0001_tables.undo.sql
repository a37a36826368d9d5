DROP TABLE IF EXISTS events, order_items, orders, reviews, products, customers;
