"""Authors, books and reviews, the way a first version is written."""

import os

from fastapi import FastAPI, HTTPException
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

engine = create_engine(os.environ["DATABASE_URL"], pool_size=10)
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int]
    isbn: Mapped[str]
    title: Mapped[str]
    reviews: Mapped[list["Review"]] = relationship()


class Review(Base):
    __tablename__ = "reviews"
    id: Mapped[int] = mapped_column(primary_key=True)
    book_id: Mapped[int] = mapped_column(ForeignKey("books.id"))
    stars: Mapped[int]
    body: Mapped[str]


@app.get("/health")
def health():
    return {"ok": True}


@app.get("/authors/{author_id}")
def author(author_id: int):
    with Session(engine) as session:
        found = session.get(Author, author_id)
        if found is None:
            raise HTTPException(404)
        return {"id": found.id, "name": found.name}


@app.get("/authors/{author_id}/books")
def books_of_author(author_id: int):
    with Session(engine) as session:
        books = session.scalars(select(Book).where(Book.author_id == author_id)).all()
        # Each book's reviews are loaded when they are touched.
        return [{"title": b.title, "stars": [r.stars for r in b.reviews]} for b in books]


@app.get("/books/by-isbn/{isbn}")
def book_by_isbn(isbn: str):
    with Session(engine) as session:
        found = session.scalars(select(Book).where(Book.isbn == isbn)).first()
        if found is None:
            raise HTTPException(404)
        return {"id": found.id, "title": found.title}
